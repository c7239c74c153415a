// Makes ../static/built: one bundle for each src/<name>.js, plain and compressed, and the licences of what went into them.
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const SOURCES = new URL("src/", import.meta.url);
const OUT = new URL("../static/built/", import.meta.url);

/** Folders of the packages among the files that went into the bundles. */
function packagesOf(inputs) {
  const folders = inputs.map((path) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]);
  return [...new Set(folders.filter(Boolean))].sort();
}

/** "name version (licence)" and the text of the licence of one package. */
async function licenceOf(folder) {
  const { name, version, license } = JSON.parse(await readFile(`${folder}/package.json`, "utf8"));
  const file = (await readdir(folder)).find((each) => /^licen[cs]e/i.test(each));
  if (!file) throw new Error(`${name} comes without the text of its licence`);
  return `${name} ${version} (${license})\n\n${(await readFile(`${folder}/${file}`, "utf8")).trim()}\n`;
}

const names = (await readdir(SOURCES)).filter((name) => name.endsWith(".js"));
const { metafile, outputFiles } = await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: names.map((name) => `src/${name}`),
  outdir: "../static/built",
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  legalComments: "none",
  logLevel: "warning",
  metafile: true,
  write: false,
});
await rm(OUT, { recursive: true, force: true });
await mkdir(OUT);
for (const { path, contents } of outputFiles) {
  await writeFile(path, contents);
  await writeFile(`${path}.gz`, gzipSync(contents, { level: 9 }));
}
const licences = await Promise.all(packagesOf(Object.keys(metafile.inputs)).map(licenceOf));
await writeFile(new URL("licences.txt", OUT), licences.join(`\n${"-".repeat(78)}\n\n`));
