// The image page: zoom and pan over the pixels themselves, in place of the preview.
import "./image.css";
import OpenSeadragon from "openseadragon";
import { Marks } from "./image/marks.js";
import { SkyNodes } from "./image/sky.js";

const STYLE = ["STRETCH", "SCALE", "COLORMAP", "MASK"];
const KEY_ZOOM = 1.5;
const BUTTONS = {
  in: (viewer) => zoom(viewer, KEY_ZOOM),
  out: (viewer) => zoom(viewer, 1 / KEY_ZOOM),
  fit: (viewer) => viewer.viewport.goHome(),
  pixels: (viewer) => viewer.viewport.zoomTo(viewer.viewport.imageToViewportZoom(1)),
};

const { nonce } = document.currentScript;
const figure = document.querySelector(".preview[data-layout]");
if (figure) mount(figure);

/** Put the viewer where the preview is, once what it needs to know is there. */
async function mount(figure) {
  const answer = await fetch(figure.dataset.layout);
  if (!answer.ok) return;
  const layout = await answer.json();
  const frame = figure.querySelector(".viewer");
  const form = figure.querySelector(".viewer-style");
  figure.classList.add("scripted");
  forbidStyle();
  const viewer = OpenSeadragon({
    element: frame,
    tileSources: tilesOf(figure, layout, form, frame),
    drawer: "canvas",
    showNavigationControl: false,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    gestureSettingsTouch: { clickToZoom: false },
    maxZoomPixelRatio: 24,
    minZoomImageRatio: 0.7,
    visibilityRatio: 0.4,
    animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.6,
  });
  viewer.canvas.setAttribute("role", "application");
  viewer.canvas.setAttribute("aria-label", frame.dataset.label);
  const picture = { viewer, layout, sky: new SkyNodes(layout.sky), status: figure.querySelector(".viewer-status") };
  picture.marks = new Marks(picture);
  for (const button of figure.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => BUTTONS[button.dataset.view](viewer));
  }
  listen(picture, figure.querySelector("input[name=POS]"));
  form.addEventListener("change", () => restyle(figure, picture, form, frame));
}

/** OpenSeadragon writes a style sheet unless it finds one that is marked as its own. */
function forbidStyle() {
  const style = Object.assign(document.createElement("style"), { nonce });
  style.dataset.openseadragonMobileCss = "";
  document.head.append(style);
}

/** What OpenSeadragon is to show, in the style of the form; nothing that is too coarse for its frame. */
function tilesOf(figure, layout, form, frame) {
  const shrink = Math.max(layout.width, layout.height) / Math.max(frame.clientWidth, frame.clientHeight);
  const style = styleOf(form).toString();
  return {
    width: layout.width,
    height: layout.height,
    tileSize: layout.tile_px,
    minLevel: Math.max(0, layout.levels - 1 - Math.max(0, Math.floor(Math.log2(shrink)))),
    maxLevel: layout.levels - 1,
    getTileUrl: (level, column, row) =>
      `${figure.dataset.tiles}&LEVEL=${level}&ROW=${row}&COLUMN=${column}${style && `&${style}`}`,
  };
}

function styleOf(form) {
  return new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
}

/** Other tiles over those that are there, which go when the new ones are complete; the address
 * leads to the same view again. */
function restyle(figure, { viewer, layout }, form, frame) {
  const { world } = viewer;
  const success = ({ item }) => {
    while (world.getItemCount() > 2) world.removeItem(world.getItemAt(1)); // one that was not waited for
    item.addHandler("fully-loaded-change", ({ fullyLoaded }) => {
      while (fullyLoaded && world.getIndexOfItem(item) > 0) world.removeItem(world.getItemAt(0));
    });
  };
  viewer.addTiledImage({ tileSource: tilesOf(figure, layout, form, frame), success });
  const address = new URL(location.href);
  for (const name of STYLE) address.searchParams.delete(name);
  for (const [name, value] of styleOf(form)) address.searchParams.set(name, value);
  history.replaceState(null, "", address);
  figure.querySelector(".legend").hidden = !form.elements.MASK.checked;
}

/** Positions under the pointer, marks where it is clicked, keys. */
function listen(picture, field) {
  const { viewer, layout, sky, marks } = picture;
  const place = (x, y) => {
    const at = viewer.world.getItemAt(0)?.viewportToImageCoordinates(viewer.viewport.pointFromPixel(new OpenSeadragon.Point(x, y)));
    return at && [at.x - 0.5, layout.height - at.y - 0.5];
  };
  const mark = (pixel) => {
    const position = pixel && sky.positionAt(...pixel);
    if (!position) return;
    const text = write(position, layout);
    field.value = text;
    marks.target = pixel;
    marks.draw();
    const address = new URL(location.href);
    address.searchParams.set("POS", text);
    history.replaceState(null, "", address);
    picture.status.textContent = `Marked: ${text}`;
  };
  viewer.canvas.addEventListener("pointermove", (event) => {
    const box = viewer.canvas.getBoundingClientRect();
    const pixel = place(event.clientX - box.left, event.clientY - box.top);
    const position = pixel && sky.positionAt(...pixel);
    picture.status.textContent = position
      ? `${write(position, layout)} · pixel ${pixel.map((each) => (each + 1).toFixed(1)).join(" ")}`
      : "";
  });
  viewer.addHandler("canvas-click", ({ quick, position }) => quick && mark(place(position.x, position.y)));
  viewer.addHandler("canvas-key", (event) => {
    const { key } = event.originalEvent;
    if ("rRfF".includes(key)) event.preventDefaultAction = true; // marks do not turn
    if (key === "m") mark(place(viewer.canvas.clientWidth / 2, viewer.canvas.clientHeight / 2));
  });
  const smooth = () => {
    const image = viewer.world.getItemAt(0);
    if (image) viewer.drawer.setImageSmoothingEnabled(image.viewportToImageZoom(viewer.viewport.getZoom()) < 1);
  };
  for (const event of ["open", "zoom"]) viewer.addHandler(event, smooth);
}

/** Degrees, to about a tenth of a pixel. */
function write(position, layout) {
  const decimals = Math.ceil(-Math.log10(layout.pixel_scale_arcsec / 36000));
  return position.map((each) => each.toFixed(Math.max(1, decimals))).join(" ");
}

function zoom(viewer, factor) {
  viewer.viewport.zoomBy(factor);
  viewer.viewport.applyConstraints();
}
