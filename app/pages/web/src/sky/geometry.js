// Directions on the sphere: [right ascension, declination] in degrees, as d3-geo takes them.
import { geoAzimuthalEqualAreaRaw, geoDistance, geoProjection, geoStereographic } from "d3-geo";

export const RADIAN = 180 / Math.PI;
const HAMMER_WIDTH = 4 * Math.SQRT2;

function hammerRaw(lambda, phi) {
  const [x, y] = geoAzimuthalEqualAreaRaw(lambda / 2, phi);
  return [2 * x, y];
}
hammerRaw.invert = (x, y) => {
  const [lambda, phi] = geoAzimuthalEqualAreaRaw.invert(x / 2, y);
  return [2 * lambda, phi];
};

/** Pixels per radian at which the whole sky fills a frame. */
export function wholeSky(width, height) {
  return Math.min((width - 8) / HAMMER_WIDTH, (height - 8) / (HAMMER_WIDTH / 2));
}

/** Whether the whole sky is shown at so many pixels per radian. */
export function isWhole(scale, width, height) {
  return scale < 2 * wholeSky(width, height);
}

/**
 * The whole sky, the equator across its middle, in Hammer's projection, which shows areas truly,
 * while it is small; stereographic about the centre nearer by, which shows shapes truly. Right
 * ascension grows to the left.
 */
export function makeProjection({ centre, scale, width, height }) {
  const whole = isWhole(scale, width, height);
  const radius = Math.hypot(width, height) / 2 / scale;
  const projection = whole
    ? geoProjection(hammerRaw).scale(scale)
    : geoStereographic()
        .scale(2 * scale)
        .clipAngle(Math.max(1, Math.min(150, 2.6 * Math.atan(radius / 2) * RADIAN)));
  projection.reflectX(true).rotate([-centre[0], whole ? 0 : -centre[1]]).translate([width / 2, height / 2]).precision(0.4);
  return { projection, isWhole: whole, radius: whole ? 180 : 2 * Math.atan(radius / 2) * RADIAN };
}

/** Corners of a polygon, each once. */
function cornersOf(geometry) {
  return geometry.coordinates[0].slice(0, -1);
}

/** The mean direction of some. */
export function meanOf(points) {
  const sum = [0, 0, 0];
  for (const [lon, lat] of points) {
    const across = Math.cos(lat / RADIAN);
    sum[0] += across * Math.cos(lon / RADIAN);
    sum[1] += across * Math.sin(lon / RADIAN);
    sum[2] += Math.sin(lat / RADIAN);
  }
  const lon = Math.atan2(sum[1], sum[0]) * RADIAN;
  return [(lon + 360) % 360, Math.atan2(sum[2], Math.hypot(sum[0], sum[1])) * RADIAN];
}

export function centreOf(geometry) {
  return meanOf(cornersOf(geometry));
}

/** How far (degrees) a polygon reaches from its centre. */
export function reachOf(geometry) {
  const centre = centreOf(geometry);
  return RADIAN * Math.max(...cornersOf(geometry).map((corner) => geoDistance(centre, corner)));
}
