// The pages with a query: an editor over the text area of the form, which still carries the text.
import { autocompletion, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { bracketMatching } from "@codemirror/language";
import { lintKeymap, setDiagnostics } from "@codemirror/lint";
import { Compartment } from "@codemirror/state";
import { EditorView, drawSelection, keymap, lineNumbers } from "@codemirror/view";
import { adql, plainSql } from "./query/language.js";
import { appearance } from "./query/appearance.js";
import { faultAt } from "./query/faults.js";

const { nonce } = document.currentScript;
const area = document.querySelector("#query");
if (area) mount(area);

/** Put the editor in the place of a text area, and let its form check the query. */
function mount(area) {
  const { form } = area;
  const label = form.querySelector(`label[for="${area.id}"]`);
  const hint = form.querySelector("[data-hint]");
  const status = form.querySelector("[data-status]");
  const language = new Compartment();
  label.id = `${area.id}-label`;
  hint.id = `${area.id}-hint`;
  hint.hidden = false;

  const run = () => {
    form.requestSubmit();
    return true;
  };
  const view = new EditorView({
    doc: area.value,
    extensions: [
      EditorView.cspNonce.of(nonce),
      EditorView.contentAttributes.of({ "aria-labelledby": label.id, "aria-describedby": hint.id }),
      // Tab is left to the browser: it leads out of the editor, as it does everywhere.
      keymap.of([
        { key: "Mod-Enter", run },
        ...completionKeymap,
        ...lintKeymap,
        ...defaultKeymap,
        ...historyKeymap,
      ]),
      autocompletion(),
      bracketMatching(),
      drawSelection(),
      history(),
      lineNumbers(),
      EditorView.lineWrapping,
      language.of(plainSql()),
      appearance,
      EditorView.updateListener.of((update) => {
        if (!update.docChanged) return;
        area.value = update.state.doc.toString();
        status.replaceChildren();
      }),
    ],
  });
  area.hidden = true;
  area.after(view.dom);
  label.addEventListener("click", () => view.focus());
  // A browser that comes back to the page puts the text that was left into the text area.
  addEventListener("pageshow", () => {
    if (area.value !== view.state.doc.toString()) replaceText(view, area.value);
  });
  fetch(area.dataset.vocabulary)
    .then((answer) => answer.json())
    .then((words) => view.dispatch({ effects: language.reconfigure(adql(words)) }));
  form.querySelector("[data-check]").addEventListener("click", (event) => {
    event.preventDefault();
    check(view, event.currentTarget.formAction, status);
  });
  const { line, column, message } = area.dataset;
  if (message) showFault(view, { line: Number(line), column: Number(column), message });
}

function replaceText(view, text) {
  view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
}

/** Underline a fault and put the cursor there. */
function showFault(view, fault) {
  const diagnostic = faultAt(view.state, fault);
  view.dispatch(setDiagnostics(view.state, [diagnostic]));
  view.dispatch({ selection: { anchor: diagnostic.from }, scrollIntoView: true });
  view.focus();
}

/** Ask the service what is to be said of the query, and say it below the editor. */
async function check(view, address, status) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { Accept: "application/json" },
    body: new URLSearchParams({ LANG: "ADQL", QUERY: view.state.doc.toString() }),
  });
  if (!answer.ok) {
    status.textContent = `The service did not judge the query (status ${answer.status}).`;
    return;
  }
  const verdict = await answer.json();
  if (verdict.valid) {
    view.dispatch(setDiagnostics(view.state, []));
    const names = verdict.columns.map((column) => column.name).join(", ");
    status.textContent = `The query is valid. Columns of the answer: ${names}.`;
    return;
  }
  showFault(view, verdict);
  status.textContent = verdict.message;
  if (verdict.fix) status.append(" ", fixButton(view, verdict.fix));
}

function fixButton(view, fix) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = `Mend it: ${fix.changes.join("; ")}`;
  button.addEventListener("click", () => {
    replaceText(view, fix.query);
    view.dispatch(setDiagnostics(view.state, []));
    view.focus();
  });
  return button;
}
