// ADQL for CodeMirror, from the vocabulary of the service.
import { ifNotIn } from "@codemirror/autocomplete";
import { SQLDialect, sql } from "@codemirror/lang-sql";

const NAME = /[\p{L}_][\p{L}\p{N}_]*/u;
const NO_NAMES = ["QuotedIdentifier", "String", "LineComment", "BlockComment", "."];

/** What is used until the vocabulary is there. */
export const plainSql = () => sql();

/** Highlighting and completion for `{keywords, functions, tables}`. */
export function adql({ keywords, functions, tables }) {
  const dialect = SQLDialect.define({
    keywords: keywords.join(" ").toLowerCase(),
    builtin: functions.map(({ name }) => name).join(" ").toLowerCase(),
    caseInsensitiveIdentifiers: true,
  });
  const known = new Map(functions.map((each) => [each.name.toLowerCase(), each]));
  const support = sql({
    dialect,
    schema: namespaces(tables),
    upperCaseKeywords: true,
    keywordCompletion: (word, type) => {
      const found = known.get(word.toLowerCase());
      return found ? functionOption(found) : { label: word, type, boost: -1 };
    },
  });
  return [support, dialect.language.data.of({ autocomplete: columnsOf(tables) })];
}

const functionOption = ({ name, form, description }) => ({
  label: name,
  type: "function",
  detail: form?.slice(name.length),
  info: description,
});

const columnOption = ({ name, unit, type, description }) => ({
  label: name,
  type: "property",
  detail: unit ?? type,
  info: description,
});

/** Tables by schema, as lang-sql completes them after a dot. */
function namespaces(tables) {
  const schemas = {};
  for (const { name, description, columns } of tables) {
    const dot = name.indexOf(".");
    const table = { label: name.slice(dot + 1), type: "class", info: description };
    schemas[name.slice(0, dot)] ??= {};
    schemas[name.slice(0, dot)][table.label] = { self: table, children: columns.map(columnOption) };
  }
  return schemas;
}

/** Bare names: the columns of the tables that the query names, of the first table while it names
 * none; and the tables themselves, with their schema. */
function columnsOf(tables) {
  const byTable = tables.map((table) => ({
    name: table.name.toLowerCase(),
    options: table.columns.map(columnOption),
  }));
  const whole = tables.map(({ name, description }) => ({
    label: name,
    type: "class",
    info: description,
  }));
  return ifNotIn(NO_NAMES, (context) => {
    const word = context.matchBefore(NAME);
    const from = word ? word.from : context.pos;
    if (!word && !context.explicit) return null;
    const text = context.state.doc.toString().toLowerCase();
    const named = byTable.filter(({ name }) => text.includes(name));
    const used = named.length ? named : byTable.slice(0, 1);
    const options = used.flatMap((table) => table.options);
    return { from, options: [...options, ...whole], validFor: /^[\p{L}\p{N}_]*$/u };
  });
}
