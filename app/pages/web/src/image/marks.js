// What is drawn over the pixels, anew at any zoom: footprint, target, directions, scale.
import { Point } from "openseadragon";

const NAMESPACE = "http://www.w3.org/2000/svg";
const BARS_ARCSEC = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 18000, 36000];
const ARROW_PX = 38;
const LEAST_RING_PX = 14;
const RING_PIXELS = 9;

export class Marks {
  constructor({ viewer, layout, sky }) {
    Object.assign(this, { viewer, layout, sky, target: layout.target });
    this.svg = make("svg", { class: "viewer-marks", "aria-hidden": "true" });
    this.parts = Object.fromEntries(
      ["outline", "ring-back", "ring", "arrows-back", "arrows", "bar-back", "bar"].map((name) => [name, this.#add("path", name)]),
    );
    this.words = Object.fromEntries(["north", "east", "length"].map((name) => [name, this.#add("text", name)]));
    viewer.canvas.appendChild(this.svg);
    for (const event of ["open", "update-viewport", "resize"]) viewer.addHandler(event, () => this.draw());
  }

  draw() {
    const image = this.viewer.world.getItemAt(0);
    if (!image) return;
    const { clientWidth: width, clientHeight: height } = this.viewer.canvas;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.#drawOutline(image);
    this.#drawTarget(image);
    this.#drawSky(image, width, height);
  }

  /** From a pixel of the image to the screen. */
  #place(image, [x, y]) {
    const point = image.imageToViewportCoordinates(x + 0.5, this.layout.height - y - 0.5, true);
    const { x: px, y: py } = this.viewer.viewport.pixelFromPoint(point, true);
    return [px, py];
  }

  #drawOutline(image) {
    const points = this.layout.footprint.map((pixel) => this.#place(image, pixel).map((each) => each.toFixed(1)));
    this.parts.outline.setAttribute("d", points.length ? `M${points.join("L")}Z` : "");
  }

  #drawTarget(image) {
    const zoom = image.viewportToImageZoom(this.viewer.viewport.getZoom(true));
    const radius = Math.max(LEAST_RING_PX, RING_PIXELS * zoom);
    const [x, y] = this.target ? this.#place(image, this.target) : [];
    const ring = x === undefined ? "" : `M${x - radius},${y}a${radius},${radius} 0 1 0 ${2 * radius},0a${radius},${radius} 0 1 0 ${-2 * radius},0`;
    this.#stroke("ring", ring);
  }

  /** Arrows and scale as they are in the middle of what is seen. */
  #drawSky(image, width, height) {
    const middle = image.viewportToImageCoordinates(this.viewer.viewport.pointFromPixel(new Point(width / 2, height / 2), true), true);
    const x = Math.max(0, Math.min(this.layout.width - 2, middle.x - 0.5));
    const y = Math.max(0, Math.min(this.layout.height - 2, this.layout.height - middle.y - 0.5));
    const around = this.sky.aroundPixel(x, y);
    if (!around) return;
    const centre = [width - 2 * ARROW_PX, 2 * ARROW_PX];
    this.#stroke("arrows", arrow(centre, around.north) + arrow(centre, around.east));
    this.#write("north", "N", beyond(centre, around.north));
    this.#write("east", "E", beyond(centre, around.east));
    const scale = around.scale / image.viewportToImageZoom(this.viewer.viewport.getZoom(true));
    const bar = BARS_ARCSEC.findLast((each) => each / scale <= 0.3 * width) ?? BARS_ARCSEC[0];
    const [left, length] = [16, bar / scale];
    this.#stroke("bar", `M${left},${height - 18}h${length}`);
    this.#write("length", nameOf(bar), [left + length / 2, height - 26]);
  }

  #stroke(name, path) {
    this.parts[name].setAttribute("d", path);
    this.parts[`${name}-back`].setAttribute("d", path);
  }

  #write(name, text, [x, y]) {
    const element = this.words[name];
    element.setAttribute("x", x.toFixed(1));
    element.setAttribute("y", y.toFixed(1));
    element.textContent = text;
  }

  #add(element, name) {
    return this.svg.appendChild(make(element, { class: name }));
  }
}

function arrow([x, y], [dx, dy]) {
  const tip = [x + dx * ARROW_PX, y - dy * ARROW_PX];
  const barbs = [2.6, -2.6].map((turn) => {
    const bx = dx * Math.cos(turn) - dy * Math.sin(turn);
    const by = dx * Math.sin(turn) + dy * Math.cos(turn);
    return `M${tip}L${tip[0] + (bx * ARROW_PX) / 4},${tip[1] - (by * ARROW_PX) / 4}`;
  });
  return `M${x},${y}L${tip}${barbs.join("")}`;
}

function beyond([x, y], [dx, dy]) {
  return [x + 1.35 * dx * ARROW_PX, y - 1.35 * dy * ARROW_PX];
}

function nameOf(arcsec) {
  if (arcsec >= 3600) return `${arcsec / 3600}°`;
  return arcsec >= 60 ? `${arcsec / 60}′` : `${arcsec}″`;
}

function make(name, attributes) {
  const element = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
