#!/usr/bin/env python3
"""Writes src/view/fold_table.c: Unicode's case folding and canonical composition, from the data Python carries.

The table is kept in the tree, so that a build anywhere gives the same rows: a view may call like in its sections. Run it
again to take up a newer Unicode, together with a higher store format (src/view/store.c).
"""
import pathlib
import sys
import unicodedata

HANGUL = range(0xAC00, 0xD7A4)
WIDTH = 160


def points():
    return (c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and c not in HANGUL)


def folded(c):
    """U+0345, a mark that folds to a letter, stays one: it is put in order among marks before it is folded (fold.c)."""
    parts = unicodedata.normalize("NFD", chr(c))
    return "".join(x if x == "\u0345" else unicodedata.normalize("NFD", x.casefold()) for x in parts)


def rows(items):
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > WIDTH:
            yield line
            line = "   "
        line += f" {item},"
    yield line


def array(declaration, items):
    return [f"{declaration} = {{", *rows(items), "};", ""]


def fold_map():
    entries, tail = [], []
    for c in points():
        to = [ord(x) for x in folded(c)]
        if to != [c]:
            entries.append((c, len(tail), len(to)))
            tail += to
    return entries, tail


def class_ranges():
    found = []
    for c in points():
        combining = unicodedata.combining(chr(c))
        if combining and found and found[-1][1] == c - 1 and found[-1][2] == combining:
            found[-1][1] = c
        elif combining:
            found.append([c, c, combining])
    return found


def pairs():
    found = []
    for c in points():
        parts = unicodedata.decomposition(chr(c)).split()
        if len(parts) == 2 and not parts[0].startswith("<") and unicodedata.normalize("NFC", chr(c)) == chr(c):
            found.append((int(parts[0], 16), int(parts[1], 16), c))
    return sorted(found)


def main():
    entries, tail = fold_map()
    classes, composed = class_ranges(), pairs()
    lines = [f"/* Made by tools/make_fold.py from Unicode {unicodedata.unidata_version}: do not edit. */",
             '#include "view/fold_table.h"', "",
             *array("const uint32_t fold_points[]", (f"0x{c:x}" for c in tail)),
             *array("const struct fold_entry fold_entries[]", (f"{{0x{c:x}, {at}, {count}}}" for c, at, count in entries)),
             f"const size_t fold_entry_count = {len(entries)};", "",
             *array("const struct fold_class fold_classes[]", (f"{{0x{a:x}, 0x{b:x}, {k}}}" for a, b, k in classes)),
             f"const size_t fold_class_count = {len(classes)};", "",
             *array("const struct fold_pair fold_pairs[]", (f"{{0x{a:x}, 0x{b:x}, 0x{c:x}}}" for a, b, c in composed)),
             f"const size_t fold_pair_count = {len(composed)};"]
    path = pathlib.Path(__file__).resolve().parent.parent / "src/view/fold_table.c"
    path.write_text("\n".join(lines) + "\n")
    print(f"{path}: {len(entries)} folded, {len(classes)} ranges of classes, {len(composed)} pairs, {len(lines)} lines",
          file=sys.stderr)


if __name__ == "__main__":
    main()
