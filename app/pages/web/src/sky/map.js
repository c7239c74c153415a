// A map of the sky as SVG that can be turned, zoomed and pointed at.
import { geoPath, geoDistance } from "d3-geo";
import { RADIAN, centreOf, isWhole, makeProjection, meanOf, reachOf, wholeSky } from "./geometry.js";
import { makeGraticule } from "./graticule.js";
import { SurveyLayer } from "./survey.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const CLOSEST_DEG = 0.01;
const STEP = 1.4;
/** About as wide as a digit of a label, so that none is cut at the border. */
const GLYPH_PX = 7;
const LEAST_PX = 3; // what would be smaller is drawn as a dot
const MOVED_PX = 4; // a pointer that went further has dragged
const BUTTONS = [
  ["+", "Zoom in", (map) => map.zoom(STEP)],
  ["−", "Zoom out", (map) => map.zoom(1 / STEP)],
  ["Fit", "", (map) => map.fit()],
  ["All sky", "", (map) => map.showAll()],
];
const KEYS = {
  ArrowLeft: (map) => map.pan(0.1, 0),
  ArrowRight: (map) => map.pan(-0.1, 0),
  ArrowUp: (map) => map.pan(0, 0.1),
  ArrowDown: (map) => map.pan(0, -0.1),
  "+": (map) => map.zoom(STEP),
  "=": (map) => map.zoom(STEP),
  "-": (map) => map.zoom(1 / STEP),
  Home: (map) => map.fit(),
  0: (map) => map.showAll(),
};

export class SkyMap {
  /** Where an empty place was clicked: called with its position and the decimals that it has. */
  onPlace = null;
  #shapes = [];
  #cells = [];
  #mark = null;
  #centre = [0, 0];
  #scale = 1;
  #pointers = new Map();
  #dragged = 0;
  #due = 0;

  constructor(parent, label) {
    this.frame = parent.appendChild(document.createElement("div"));
    this.frame.className = "sky-frame";
    this.svg = this.frame.appendChild(make("svg", { class: "sky-map", tabindex: 0, role: "application", "aria-label": label }));
    this.paths = Object.fromEntries(
      ["sphere", "cover", "graticule"].map((name) => [name, this.svg.appendChild(make("path", { class: name }))]),
    );
    const survey = make("g", { class: "survey" });
    this.paths.graticule.before(survey);
    this.survey = new SurveyLayer(survey);
    this.labels = this.svg.appendChild(make("g", { class: "labels", "aria-hidden": "true" }));
    this.footprints = this.svg.appendChild(make("g", { class: "footprints" }));
    this.cross = this.svg.appendChild(make("path", { class: "mark" }));
    this.status = parent.appendChild(document.createElement("p"));
    this.status.className = "small sky-status";
    this.status.setAttribute("aria-live", "polite");
    this.#addButtons();
    this.#listen();
    new ResizeObserver(() => this.#redraw()).observe(this.svg);
  }

  /** Footprints: {geometry, title, href, centre, reach, light}. */
  show(shapes) {
    this.#shapes = shapes;
    this.footprints.replaceChildren();
    shapes.forEach((shape, index) => {
      const link = this.footprints.appendChild(make("a", { href: shape.href, tabindex: -1 }));
      shape.path = link.appendChild(make("path"));
      shape.path.appendChild(make("title")).textContent = shape.title;
      shape.link = link;
      link.addEventListener("pointerenter", () => this.light(index, true));
      link.addEventListener("pointerleave", () => this.light(index, false));
    });
    this.#redraw();
  }

  /** Draw a progressive survey below the footprints (null: none). */
  async showSurvey(survey) {
    await this.survey.choose(survey);
    this.#redraw();
  }

  /** Bring out a footprint, and tell its row. */
  light(index, on) {
    const shape = this.#shapes[index];
    shape.link.classList.toggle("lit", on);
    shape.light(on);
    this.status.textContent = on ? shape.title : "";
  }

  /** What is covered, as a MultiPolygon of small cells. */
  cover({ coordinates }) {
    this.#cells = coordinates.map((rings) => {
      const geometry = { type: "Polygon", coordinates: rings };
      return { rings, centre: centreOf(geometry), reach: reachOf(geometry) };
    });
    if (this.#shapes.length === 0 && !this.#mark) this.fit();
    this.#redraw();
  }

  mark(position) {
    this.#mark = position;
    this.#redraw();
  }

  /** Show all footprints, else the mark, else what is covered; all of the sky where that is most. */
  fit() {
    let points = this.#shapes.flatMap((shape) => shape.geometry.coordinates[0]);
    if (points.length === 0) points = this.#mark ? [this.#mark] : this.#cells.map((cell) => cell.centre);
    if (points.length === 0) return this.showAll();
    this.#centre = meanOf(points);
    const reach = Math.max(...points.map((point) => geoDistance(this.#centre, point)));
    const { width, height } = this.#size();
    this.#scale = (0.45 * Math.min(width, height)) / Math.max(2 * Math.tan(reach / 2), 0.02 / RADIAN);
    if (reach > 1 || isWhole(this.#scale, width, height)) return this.showAll();
    return this.#redraw();
  }

  showAll() {
    this.#scale = 0;
    this.#redraw();
  }

  /** By a share of the view, to the left and down where positive. */
  pan(right, down) {
    const { width, height } = this.#size();
    this.#moveBy(right * width, down * height);
  }

  /** Larger by a factor; what is ``at`` [x, y] stays there. */
  zoom(factor, at = null) {
    const before = at && this.#view().projection.invert(at);
    const { width, height } = this.#size();
    const most = (Math.min(width, height) / CLOSEST_DEG) * RADIAN;
    this.#scale = Math.min(this.#scale * factor, most);
    if (this.#scale < wholeSky(width, height)) this.#scale = 0; // that of the whole sky
    this.#settle();
    const after = before && this.#view().projection.invert(at);
    if (after?.every(Number.isFinite) && before.every(Number.isFinite)) {
      this.#turn(before[0] - after[0], before[1] - after[1]);
    }
    this.#redraw();
  }

  #addButtons() {
    const row = this.frame.appendChild(document.createElement("div"));
    row.className = "sky-buttons";
    for (const [text, title, act] of BUTTONS) {
      const button = row.appendChild(document.createElement("button"));
      Object.assign(button, { type: "button", className: "quiet", textContent: text });
      if (title) button.setAttribute("aria-label", title);
      button.addEventListener("click", () => act(this));
    }
  }

  #listen() {
    const { svg } = this;
    svg.addEventListener("keydown", (event) => {
      const act = KEYS[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act(this);
    });
    svg.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), this.#placeOf(event));
    }, { passive: false });
    svg.addEventListener("pointerdown", (event) => {
      if (this.#pointers.size === 0) this.#dragged = 0;
      this.#pointers.set(event.pointerId, this.#placeOf(event));
    });
    svg.addEventListener("pointermove", (event) => this.#follow(event));
    for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
      svg.addEventListener(name, (event) => this.#pointers.delete(event.pointerId));
    }
    svg.addEventListener("dragstart", (event) => event.preventDefault());
    svg.addEventListener("click", (event) => this.#click(event), true);
  }

  /** One pointer turns the sky, two zoom. */
  #follow(event) {
    const now = this.#placeOf(event);
    const last = this.#pointers.get(event.pointerId);
    if (!last) return this.#tell(now);
    const moved = [now[0] - last[0], now[1] - last[1]];
    this.#dragged += Math.hypot(...moved);
    if (this.#dragged > MOVED_PX && !this.svg.hasPointerCapture(event.pointerId)) this.svg.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, now);
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (!other) return this.#moveBy(...moved);
    const apart = Math.hypot(last[0] - other[0], last[1] - other[1]);
    const middle = [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2];
    return this.zoom(Math.hypot(now[0] - other[0], now[1] - other[1]) / Math.max(apart, 1), middle);
  }

  #click(event) {
    if (this.#dragged > MOVED_PX) {
      event.preventDefault();
      return;
    }
    const position = this.#positionAt(this.#placeOf(event));
    if (event.target.closest("a") || !position || !this.onPlace) return;
    this.onPlace(...position, this.#decimals());
  }

  #tell(place) {
    if (this.footprints.querySelector(".lit")) return;
    const position = this.#positionAt(place);
    this.status.textContent = position ? position.map((each) => each.toFixed(this.#decimals())).join(" ") : "";
  }

  #positionAt(place) {
    const { projection } = this.#view();
    const found = projection.invert(place);
    if (!found?.every(Number.isFinite)) return null;
    const [x, y] = projection(found) ?? [NaN, NaN];
    if (!(Math.hypot(x - place[0], y - place[1]) < 1)) return null; // beside the sky
    return [(found[0] + 360) % 360, found[1]];
  }

  #decimals() {
    return Math.max(1, Math.min(6, Math.ceil(Math.log10(this.#scale / RADIAN))));
  }

  #moveBy(x, y) {
    const across = Math.max(0.1, Math.cos(this.#centre[1] / RADIAN));
    const { width, height } = this.#size();
    const up = isWhole(this.#scale, width, height) ? 0 : (y / this.#scale) * RADIAN;
    this.#turn((x / this.#scale) * (RADIAN / across), up);
    this.#redraw();
  }

  #turn(lon, lat) {
    const near = ((lon + 540) % 360) - 180;
    this.#centre = [(this.#centre[0] + near + 360) % 360, Math.max(-90, Math.min(90, this.#centre[1] + lat))];
  }

  #placeOf(event) {
    const box = this.svg.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #size() {
    return { width: Math.max(this.svg.clientWidth, 50), height: Math.max(this.svg.clientHeight, 50) };
  }

  #settle() {
    const { width, height } = this.#size();
    if (this.#scale === 0) this.#scale = wholeSky(width, height);
    return { width, height };
  }

  #view() {
    return makeProjection({ centre: this.#centre, scale: this.#scale, ...this.#settle() });
  }

  #redraw() {
    this.#due ||= requestAnimationFrame(() => {
      this.#due = 0;
      this.#draw();
    });
  }

  #draw() {
    const { width, height } = this.#settle();
    const view = this.#view();
    const path = geoPath(view.projection).pointRadius(LEAST_PX);
    const { lines, labels } = makeGraticule(view, this.#centre, width, height);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.paths.sphere.setAttribute("d", path({ type: "Sphere" }) ?? "");
    this.paths.cover.setAttribute("d", this.#drawCells(view.projection));
    this.paths.graticule.setAttribute("d", path(lines) ?? "");
    this.survey.draw(view, this.#centre, this.#scale);
    this.labels.replaceChildren(
      ...labels.map(({ place: [x, y], text }) => {
        const half = GLYPH_PX * text.length / 2;
        const within = Math.min(Math.max(x, half), width - half);
        const label = make("text", { x: within.toFixed(1), y: (y - 3).toFixed(1), "text-anchor": "middle" });
        label.textContent = text;
        return label;
      }),
    );
    for (const { geometry, centre, reach, path: element } of this.#shapes) {
      element.setAttribute("d", path(this.#isSmall(reach) ? { type: "Point", coordinates: centre } : geometry) ?? "");
    }
    const [x, y] = (this.#mark && path({ type: "Point", coordinates: this.#mark }) && view.projection(this.#mark)) ?? [];
    this.cross.setAttribute("d", x === undefined ? "" : `M${x - 12},${y}h8M${x + 4},${y}h8M${x},${y - 12}v8M${x},${y + 4}v8`);
  }

  #drawCells(projection) {
    const path = geoPath(projection).pointRadius(0.8 * LEAST_PX);
    const small = this.#cells.filter(({ reach }) => this.#isSmall(2 * reach));
    const large = this.#cells.filter(({ reach }) => !this.#isSmall(2 * reach));
    const dots = path({ type: "MultiPoint", coordinates: small.map(({ centre }) => centre) });
    return (dots ?? "") + (path({ type: "MultiPolygon", coordinates: large.map(({ rings }) => rings) }) ?? "");
  }

  #isSmall(reach) {
    return (reach / RADIAN) * this.#scale < LEAST_PX;
  }
}

function make(name, attributes = {}) {
  const element = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
