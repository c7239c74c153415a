// The query page: an editor over the text area of the form, which still carries the text.
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { bracketMatching, syntaxHighlighting } from "@codemirror/language";
import { EditorState } from "@codemirror/state";
import { EditorView, drawSelection, keymap, lineNumbers } from "@codemirror/view";
import { StandardSQL, sql } from "@codemirror/lang-sql";
import { classHighlighter } from "@lezer/highlight";

const { nonce } = document.currentScript;
const area = document.querySelector("#query");
if (area) mount(area);

/** Put the editor in the place of a text area. */
function mount(area) {
  const label = document.querySelector(`label[for="${area.id}"]`);
  label.id ||= `${area.id}-label`;
  const run = () => {
    area.form.requestSubmit();
    return true;
  };
  const view = new EditorView({
    doc: area.value,
    extensions: [
      EditorView.cspNonce.of(nonce),
      EditorView.contentAttributes.of({ "aria-labelledby": label.id }),
      keymap.of([{ key: "Mod-Enter", run }, ...defaultKeymap, ...historyKeymap]),
      history(),
      lineNumbers(),
      drawSelection(),
      bracketMatching(),
      EditorView.lineWrapping,
      sql({ dialect: StandardSQL }),
      syntaxHighlighting(classHighlighter),
      EditorState.tabSize.of(2),
      EditorView.updateListener.of((update) => {
        if (update.docChanged) area.value = update.state.doc.toString();
      }),
    ],
  });
  label.addEventListener("click", () => view.focus());
  area.hidden = true;
  area.after(view.dom);
}
