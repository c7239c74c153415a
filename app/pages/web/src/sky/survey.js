// Tiles of a progressive survey (HiPS) below the footprints, each as an image that is sheared into
// its place: tiles are small enough on the screen for that.
import { RADIAN } from "./geometry.js";
import { cellsNear, placeIn, sideOf } from "./healpix.js";

const TILE_PX = 512;
const MOST_TILES = 160;
const BLOCK = 2880;
const CARD = 80;
const NAMESPACE = "http://www.w3.org/2000/svg";

/** The surveys that a service lists: {title, url, order}. */
export async function listSurveys(url) {
  const answer = await fetch(url);
  if (!answer.ok) return [];
  const records = (await answer.text()).split("\n\n").filter((record) => record.trim());
  return records.map((record) => {
    const facts = Object.fromEntries(
      record.split("\n").filter((line) => line.includes("=")).map((line) => line.split(/\s*=\s*(.*)/s).slice(0, 2)),
    );
    const name = facts.hips_service_url.split("/").at(-1);
    return { title: facts.obs_title ?? name, url: `${url}/${name}`, order: Number(facts.hips_order) };
  });
}

/** Where a survey has tiles: (order, number) -> whether there is one, by its MOC (FITS, NUNIQ). */
async function readCoverage(url) {
  const answer = await fetch(url);
  const bytes = new DataView(await answer.arrayBuffer());
  const whole = new Set();
  const parts = new Set();
  for (const uniq of uniqNumbers(bytes)) {
    let order = Math.floor(Math.log2(uniq / 4) / 2);
    let number = uniq - 4 ** (order + 1);
    whole.add(`${order}/${number}`);
    while (order > 0) {
      order -= 1;
      number = Math.floor(number / 4);
      if (parts.has(`${order}/${number}`)) break;
      parts.add(`${order}/${number}`);
    }
  }
  return (order, number) => {
    if (parts.has(`${order}/${number}`)) return true;
    for (let up = order, rest = number; up >= 0; up -= 1, rest = Math.floor(rest / 4)) {
      if (whole.has(`${up}/${rest}`)) return true;
    }
    return false;
  };
}

/** The column of a FITS file of one table: 64-bit numbers, after two headers. */
function* uniqNumbers(bytes) {
  let at = 0;
  let rows = 0;
  for (let header = 0; header < 2; header += 1) {
    for (let ended = false; !ended; at += BLOCK) {
      for (let card = at; card < at + BLOCK && !ended; card += CARD) {
        const text = String.fromCharCode(...new Uint8Array(bytes.buffer, card, CARD));
        if (text.startsWith("NAXIS2  =")) rows = parseInt(text.slice(10), 10);
        ended = text.trim() === "END";
      }
    }
  }
  for (let row = 0; row < rows; row += 1) yield Number(bytes.getBigInt64(at + 8 * row));
}

export class SurveyLayer {
  #group;
  #survey = null;
  #hasTile = () => false;
  #images = new Map();

  constructor(group) {
    this.#group = group;
  }

  /** Which survey is drawn; null: none. */
  async choose(survey) {
    this.#survey = survey;
    this.#hasTile = () => false;
    this.#images.clear();
    this.#group.replaceChildren();
    const hasTile = survey && (await readCoverage(`${survey.url}/Moc.fits`));
    if (survey && this.#survey === survey) this.#hasTile = hasTile;
  }

  /** Put the tiles of a view in their places. */
  draw({ projection, isWhole, radius }, centre, scale) {
    const wanted = new Map();
    if (this.#survey && !isWhole) {
      const fitting = Math.ceil(Math.log2((sideOf(0) / RADIAN) * (scale / TILE_PX)));
      const order = Math.max(3, Math.min(fitting, this.#survey.order));
      const cells = cellsNear(order, centre, radius, this.#hasTile);
      if (cells.length <= MOST_TILES) for (const number of cells) wanted.set(`${order}/${number}`, [order, number]);
    }
    for (const [key, image] of this.#images) {
      if (!wanted.has(key)) {
        image.remove();
        this.#images.delete(key);
      }
    }
    for (const [key, [order, number]] of wanted) this.#place(key, order, number, projection);
  }

  #place(key, order, number, projection) {
    // Columns of a picture run north-west from the south corner, rows north-east.
    const [south, west, east] = [[0, 0], [0, 1], [1, 0]].map((each) => projection(placeIn(order, number, ...each)));
    if (!south || !west || !east) return;
    const image = this.#images.get(key) ?? this.#add(key, order, number);
    const numbers = [west[0] - south[0], west[1] - south[1], east[0] - south[0], east[1] - south[1], ...south];
    image.setAttribute("transform", `matrix(${numbers.join(" ")})`);
  }

  #add(key, order, number) {
    const image = document.createElementNS(NAMESPACE, "image");
    const folder = 10000 * Math.floor(number / 10000);
    for (const [name, value] of Object.entries({
      href: `${this.#survey.url}/Norder${order}/Dir${folder}/Npix${number}.png`,
      width: 1,
      height: 1,
      preserveAspectRatio: "none",
    })) {
      image.setAttribute(name, value);
    }
    this.#images.set(key, image);
    return this.#group.appendChild(image);
  }
}
