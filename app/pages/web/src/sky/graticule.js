// Meridians and parallels for any field of view, and where their labels go.
const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30];
const SAMPLES = 60;
const EDGE = 14;

/** {lines, labels} of a view: a MultiLineString, and texts with places on the picture. */
export function makeGraticule({ projection, isWhole, radius }, centre, width, height) {
  const south = isWhole ? -90 : Math.max(-90, centre[1] - radius);
  const north = isWhole ? 90 : Math.min(90, centre[1] + radius);
  const holdsPole = south <= -89 || north >= 89;
  const across = Math.max(0.02, Math.cos((centre[1] * Math.PI) / 180));
  const half = holdsPole ? 180 : Math.min(180, (1.3 * radius) / across);
  const stepLat = isWhole ? 30 : nice(radius / 4);
  const stepLon = isWhole || holdsPole ? 30 : nice(half / 4);
  const inside = ([x, y]) => x > EDGE && x < width - 2 * EDGE && y > EDGE && y < height - 4;
  const lines = [];
  const labels = [];
  const add = (points, text, wish) => {
    lines.push(points);
    const places = points.map((each) => projection(each)).filter((each) => each && inside(each));
    const place = places.sort((a, b) => wish(a) - wish(b))[0];
    if (place) labels.push({ place, text });
  };
  for (const lat of multiples(stepLat, Math.max(south, -89.9), Math.min(north, 89.9))) {
    const text = `${lat > 0 ? "+" : ""}${write(lat, stepLat)}`;
    const points = along(SAMPLES, (t) => [centre[0] - half + 2 * half * t, lat]);
    add(points, text, isWhole ? ([x]) => Math.abs(x - width / 2) : ([x]) => x);
  }
  const last = holdsPole || half >= 180 ? centre[0] + 180 - stepLon / 2 : centre[0] + half;
  for (const lon of multiples(stepLon, centre[0] - half, last)) {
    const points = along(SAMPLES, (t) => [lon, south + (north - south) * t]);
    const text = write(((lon % 360) + 360) % 360, stepLon);
    add(points, text, isWhole ? ([, y]) => Math.abs(y - height / 2 - 12) : ([, y]) => -y);
  }
  return { lines: { type: "MultiLineString", coordinates: lines }, labels };
}

function nice(least) {
  return STEPS.find((step) => step >= least) ?? STEPS.at(-1);
}

function multiples(step, low, high) {
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9; n += 1) found.push(n * step);
  return found;
}

function along(count, at) {
  return Array.from({ length: count + 1 }, (_, index) => at(index / count));
}

function write(value, step) {
  return `${value.toFixed(Math.max(0, Math.ceil(-Math.log10(step))))}°`;
}
