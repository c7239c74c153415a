"""What the product is made of: names to remove from an image, licences, a bill of materials.

    python .ci/supply.py unneeded    names that Skyloom does not need at run time, one on a line
    python .ci/supply.py licences    docs/licences.md
    python .ci/supply.py sbom        CycloneDX 1.6 (JSON) of what is needed at run time

It looks at the environment that it runs in, which is made from the lock file.
"""

from __future__ import annotations

import itertools
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
OWN = "skyloom"
NOT_NAMED = "not stated"


def installed() -> dict[str, metadata.Distribution]:
    """Every distribution of the environment by its canonical name."""
    return {canonicalize_name(each.metadata["Name"]): each for each in metadata.distributions()}


def needed(found: dict[str, metadata.Distribution]) -> set[str]:
    """What Skyloom needs, directly or not; of extras only those that are asked for."""
    needs: set[str] = set()
    waiting = [(OWN, frozenset[str]())]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        needs.add(name)
        for requirement in requirements(found, name):
            marker = requirement.marker
            if marker and not any(marker.evaluate({"extra": each}) for each in ("", *extras)):
                continue
            then = (canonicalize_name(requirement.name), frozenset(requirement.extras))
            if then[0] in found and then not in seen:
                seen.add(then)
                waiting.append(then)
    return needs


def requirements(found: dict[str, metadata.Distribution], name: str) -> list[Requirement]:
    """What one of them asks for; of Skyloom its own list, the demo (which warms up builds) too."""
    if name != OWN:
        return [Requirement(each) for each in found[name].requires or ()]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(each) for each in (*project["dependencies"], *itertools.chain(*extras))]


def licence(distribution: metadata.Distribution) -> str:
    """As a distribution states it: SPDX where it does, else its classifiers or a short text."""
    told = distribution.metadata
    if told["License-Expression"]:
        return str(told["License-Expression"])
    classes = [
        each.rpartition(" :: ")[2]
        for each in told.get_all("Classifier") or ()
        if each.startswith("License :: ") and not each.endswith("OSI Approved")
    ]
    first = (told["License"] or "").strip().partition("\n")[0]
    return "; ".join(classes) or (first if 0 < len(first) < 80 else NOT_NAMED)


def licences(found: dict[str, metadata.Distribution]) -> str:
    """The page of licences."""
    names = needed(found)
    lines = [
        "# Licences of what Skyloom is made of",
        "",
        "Made by `make licences` from what the installed packages say of themselves.",
    ]
    for title, chosen in (
        ("At run time", sorted(names - {OWN})),
        ("To develop, test and document it", sorted(set(found) - names)),
    ):
        lines += ["", f"## {title}", "", "| package | version | licence |", "|---|---|---|"]
        lines += [f"| {n} | {found[n].version} | {licence(found[n])} |" for n in chosen]
    return "\n".join(lines) + "\n"


def sbom(found: dict[str, metadata.Distribution], lock: Path) -> str:
    """The bill of materials: every component with its hashes from the lock file."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import DisjunctiveLicense
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from packageurl import PackageURL

    hashes = _hashes(lock)

    def component(name: str) -> Component:
        version = found[name].version
        return Component(
            name=name,
            version=version,
            type=ComponentType.APPLICATION if name == OWN else ComponentType.LIBRARY,
            bom_ref=f"{name}=={version}",
            purl=PackageURL("pypi", None, name, version),
            licenses=[DisjunctiveLicense(name=licence(found[name]))],
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=h) for h in hashes.get(name, ())],
        )

    names = needed(found)
    components = {name: component(name) for name in names}
    bom = Bom(components=[components[name] for name in sorted(names - {OWN})])
    bom.metadata.component = components[OWN]
    for name in names:
        below = {canonicalize_name(each.name) for each in requirements(found, name)}
        bom.register_dependency(components[name], [components[n] for n in sorted(below & names)])
    outputter = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6)
    return outputter.output_as_string(indent=1) + "\n"


def _hashes(lock: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in re.split(r"\n(?=\S)", lock.read_text()):
        name = canonicalize_name(entry.partition("==")[0].strip())
        found.setdefault(name, []).extend(re.findall(r"sha256:([0-9a-f]{64})", entry))
    return found


def main(what: str) -> None:
    """Write what was asked for to standard output."""
    found = installed()
    if what == "unneeded":
        text = "".join(f"{name}\n" for name in sorted(set(found) - needed(found)))
    elif what == "licences":
        text = licences(found)
    elif what == "sbom":
        text = sbom(found, ROOT / "requirements.lock")
    else:
        raise SystemExit(__doc__)
    sys.stdout.write(text)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
