// The sky of the front page and of searches: what is covered, and the footprints of rows.
import "./sky.css";
import { centreOf, reachOf } from "./sky/geometry.js";
import { SkyMap } from "./sky/map.js";
import { listSurveys } from "./sky/survey.js";

const CLICK_HINT = "Drag or use the arrow keys to turn, wheel, pinch or + and − to zoom.";

for (const section of document.querySelectorAll("section.sky")) mount(section);

/** Fill a section that is hidden without scripts. */
async function mount(section) {
  section.hidden = false;
  const field = document.querySelector("input#pos");
  const map = new SkyMap(section, `${section.querySelector("h2").textContent}: a map. ${CLICK_HINT}`);
  const hint = field ? " Click where nothing is to search there." : "";
  const note = append(section, "p", "small soft", CLICK_HINT + hint);
  linkRows(map, [...document.querySelectorAll("tr[data-outline]")]);
  const given = section.dataset.pos.split(" ").map(Number);
  if (given.length === 2 && given.every(Number.isFinite)) map.mark(given);
  map.fit();
  if (field) {
    map.onPlace = (lon, lat, decimals) => {
      field.value = `${lon.toFixed(decimals)} ${lat.toFixed(decimals)}`;
      map.mark([lon, lat]);
    };
  }
  listSurveys(section.dataset.surveys).then((surveys) => offerSurveys(map, surveys));
  const answer = await fetch(section.dataset.coverage);
  if (!answer.ok) return;
  const { about, geometry } = await answer.json();
  note.textContent = `${about} ${note.textContent}`;
  map.cover(geometry);
}

/** Let the reader choose which survey is drawn, where there is any. */
function offerSurveys(map, surveys) {
  if (surveys.length === 0) return;
  const choice = document.createElement("select");
  choice.setAttribute("aria-label", "Survey in the background");
  for (const title of ["No survey", ...surveys.map((each) => each.title)]) append(choice, "option", "", title);
  choice.addEventListener("change", () => map.showSurvey(surveys[choice.selectedIndex - 1] ?? null));
  choice.selectedIndex = 1;
  map.showSurvey(surveys[0]);
  map.frame.querySelector(".sky-buttons").append(choice);
}

/** Draw rows of a table, and light up each where the other is pointed at. */
function linkRows(map, rows) {
  const shapes = rows.map((row) => {
    const link = row.querySelector("a");
    const geometry = JSON.parse(row.dataset.outline);
    const light = (on) => row.classList.toggle("lit", on);
    const title = [...row.cells].slice(0, 4).map((cell) => cell.textContent).join(" · ");
    return { geometry, title, href: link.href, centre: centreOf(geometry), reach: reachOf(geometry), light };
  });
  map.show(shapes);
  rows.forEach((row, index) => {
    for (const [event, on] of [["pointerenter", true], ["pointerleave", false], ["focusin", true], ["focusout", false]]) {
      row.addEventListener(event, () => map.light(index, on));
    }
  });
}

function append(parent, name, className, text) {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  return parent.appendChild(element);
}
