// HEALPix cells (nested numbers) by the HPX projection, where they are squares on a corner.
import { geoDistance } from "d3-geo";
import { RADIAN } from "./geometry.js";

const WHOLE_DEG = 58.6; // side of a base cell
const DIAGONAL = 1.6; // at most, in sides

/** Side of a cell of an order (degrees). */
export function sideOf(order) {
  return WHOLE_DEG / 2 ** order;
}

/** [lon, lat] of a place in a cell: shares 0 to 1 towards the north-east and the north-west. */
export function placeIn(order, number, northEast, northWest) {
  const base = Math.floor(number / 4 ** order);
  const side = 2 ** order;
  let even = northEast;
  let odd = northWest;
  for (let bit = 0, rest = number % 4 ** order; bit < order; bit += 1, rest = Math.floor(rest / 4)) {
    even += (rest % 2) * 2 ** bit;
    odd += (Math.floor(rest / 2) % 2) * 2 ** bit;
  }
  const row = Math.floor(base / 4);
  const centre = 90 * (base % 4) + (row === 1 ? 0 : 45);
  const across = (45 * (even - odd)) / side;
  const up = 45 * (1 - row) - 45 + (45 * (even + odd)) / side;
  const beyond = 2 - Math.abs(up) / 45;
  if (beyond >= 1) return [centre + across, Math.asin(up / 67.5) * RADIAN];
  const lat = 90 - 2 * Math.asin(beyond / Math.sqrt(6)) * RADIAN;
  return [beyond > 1e-9 ? centre + across / beyond : centre, Math.sign(up) * lat];
}

/** Numbers of the cells of an order that may touch a circle (degrees), of those that are there. */
export function cellsNear(order, centre, radius, isThere) {
  let found = Array.from({ length: 12 }, (_, base) => base);
  for (let level = 0; level <= order; level += 1) {
    const reach = (radius + DIAGONAL * sideOf(level)) / RADIAN;
    const isNear = (number) => geoDistance(centre, placeIn(level, number, 0.5, 0.5)) < reach;
    found = found.filter((number) => isThere(level, number) && isNear(number));
    if (level < order) found = found.flatMap((number) => [0, 1, 2, 3].map((part) => 4 * number + part));
  }
  return found;
}
