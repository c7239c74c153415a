// Places in a text: the service counts lines and characters from 1, the editor UTF-16 units from 0.

/** A diagnostic of CodeMirror from what the service says of a query; without a place it is about
 * the whole text. */
export function faultAt(state, { line, column, message }) {
  const whole = { from: 0, to: state.doc.length, severity: "error", message };
  if (!(line >= 1 && line <= state.doc.lines && column >= 1)) return whole;
  const { from: start, to: end, text } = state.doc.line(line);
  const before = [...text].slice(0, column - 1).join("");
  const from = Math.min(start + before.length, end);
  const word = state.wordAt(from);
  const to = word && word.from <= from && word.to > from ? word.to : Math.min(from + 1, end);
  return { ...whole, from, to };
}
