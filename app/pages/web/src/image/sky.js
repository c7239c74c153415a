// Where pixels lie on the sky: unit vectors at the nodes of a lattice, interpolated between them.
const RADIAN = 180 / Math.PI;

export class SkyNodes {
  #x;
  #y;
  #vectors;

  /** As the service sends it: x and y of the nodes, lon and lat (degrees) by rows of nodes. */
  constructor({ x, y, lon, lat }) {
    this.#x = x;
    this.#y = y;
    this.#vectors = lon.map((row, j) => row.map((each, i) => (each === null ? null : vectorOf(each, lat[j][i]))));
  }

  /** The unit vector of a pixel (x, y from the centre of the first one); null beside the image. */
  vectorAt(x, y) {
    const [i, u] = cell(this.#x, x);
    const [j, v] = cell(this.#y, y);
    if (i === null || j === null) return null;
    const corners = [[j, i, (1 - u) * (1 - v)], [j, i + 1, u * (1 - v)], [j + 1, i, (1 - u) * v], [j + 1, i + 1, u * v]];
    const sum = [0, 0, 0];
    for (const [row, column, weight] of corners) {
      const vector = this.#vectors[row][column];
      if (!vector) return null;
      vector.forEach((each, axis) => (sum[axis] += weight * each));
    }
    const length = Math.hypot(...sum);
    return sum.map((each) => each / length);
  }

  /** [right ascension, declination] in degrees. */
  positionAt(x, y) {
    const vector = this.vectorAt(x, y);
    if (!vector) return null;
    const lon = Math.atan2(vector[1], vector[0]) * RADIAN;
    return [(lon + 360) % 360, Math.atan2(vector[2], Math.hypot(vector[0], vector[1])) * RADIAN];
  }

  /**
   * About a pixel: {north, east, scale}: where they lie, as unit vectors in pixels with y up, and
   * the side of a pixel in arcseconds.
   */
  aroundPixel(x, y) {
    const here = this.vectorAt(x, y);
    const right = this.vectorAt(x + 1, y);
    const up = this.vectorAt(x, y + 1);
    if (!here || !right || !up) return null;
    const across = Math.hypot(here[0], here[1]);
    const east = [-here[1] / across, here[0] / across, 0];
    const north = [-here[2] * east[1], here[2] * east[0], across];
    const steps = [right, up].map((vector) => vector.map((each, axis) => each - here[axis]));
    const [[a, b], [c, d]] = [east, north].map((axis) => steps.map((step) => dot(step, axis)));
    const area = a * d - b * c; // [a b; c d] takes pixels to east and north
    return { east: unit([d / area, -c / area]), north: unit([-b / area, a / area]), scale: Math.sqrt(Math.abs(area)) * RADIAN * 3600 };
  }
}

/** The node before a place, and how far on the way to the next one it lies. */
function cell(nodes, place) {
  const step = nodes[1] - nodes[0];
  const index = Math.floor((place - nodes[0]) / step);
  if (index < 0 || place > nodes.at(-1)) return [null, 0];
  const held = Math.min(index, nodes.length - 2);
  return [held, (place - nodes[held]) / step];
}

function vectorOf(lon, lat) {
  const across = Math.cos(lat / RADIAN);
  return [across * Math.cos(lon / RADIAN), across * Math.sin(lon / RADIAN), Math.sin(lat / RADIAN)];
}

function dot(a, b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

function unit(vector) {
  const length = Math.hypot(...vector);
  return vector.map((each) => each / length);
}
