"""Replays ../shared/golden/errors against HOST:PORT and compares case by case with what Apache Kafka 4.3.1 answered.

The requests are made by the project's own capture program (golden/capture/errors.py), run here with these changes:
an answer that does not come leaves a placeholder instead of ending the section, the shared admin connection is
opened again when the broker closes it, and a request above the highest version that the broker advertises is sent
in that version, unless the case's name says which version it is about. Compared are the kind of answer and all
error codes.

A case whose API or version the broker does not advertise must be answered by closing the connection. Every other
difference must stand in golden-differences.tsv: section, case (shell pattern), our answer (shell pattern), why.
"""
import contextlib, fnmatch, io, json, os, re, socket, sys, tempfile

from disk import SHARED
from report import Report

HOST, PORT = sys.argv[1].split(":")
GOLDEN = os.path.join(SHARED, "golden")
os.environ.setdefault("KAFKA_SCHEMAS", os.path.join(SHARED, "kafka-schemas/message"))
sys.path.insert(0, os.path.join(GOLDEN, "capture"))
import kproto       # noqa: E402

SECTIONS = os.environ.get("SECTIONS", "prime,framing,produce,fetches,admin,groups").split(",")


class Hole(int):
    """Stands for an answer that did not come: any field of it is again a hole, as a number it is -1."""

    def __new__(cls):
        return int.__new__(cls, -1)

    def __getitem__(self, _):
        return self

    def __iter__(self):
        return iter(())

    def items(self):
        return ()


class AdminConn(kproto.Conn):
    """The program's shared connection. A call whose answer does not come gives a hole."""

    def call(self, key, ver, body, client="golden"):
        ver = served_version(key, ver)
        for _ in range(2):
            try:
                answer = super().call(key, ver, body, client)
                if key == "Metadata":             # below version 10 there are no ids; requests with ids are then not served
                    for n, topic in enumerate(answer["Topics"]):
                        topic.setdefault("TopicId", f"00000000-0000-0000-0001-{n:012}")
                return answer
            except (kproto.Closed, kproto.NoAnswer, OSError):
                self.s.close()
                self.s = socket.create_connection(("127.0.0.1", int(PORT)))
                self.s.settimeout(10)
        return Hole()


VERSIONS = {}


def served_version(api, version):
    """`version`, or the highest one that the broker advertises below it."""
    low, high = VERSIONS.get(api, (version, version))
    return high if low <= high < version else version


def case_version(api, version, case):
    return version if re.search(r"\bv\d+", case) or api == "ApiVersions" else served_version(api, version)


def replay(out):
    """Runs the capture program's sections; its answers land in the file `out`."""
    path = os.path.join(GOLDEN, "capture/errors.py")
    with open(path) as f:
        source = f.read()
    for old, new in (("adm = Conn(port=PORT)", "adm = AdminConn(port=PORT)"),
                     ("    if conn is None: c.close()\n    return r\n", "    if conn is None: c.close()\n    return Hole() if r is None else r\n"),
                     ("r = c.call(api, ver, body, client)", "r = c.call(api, case_version(api, ver, name), body, client)")):
        assert source.count(old) == 1, f"errors.py has changed: {old!r}"
        source = source.replace(old, new)
    os.environ["ONLY"] = ",".join(SECTIONS)
    sys.argv = ["errors.py", out, PORT]
    chatter = io.StringIO()
    scope = {"__name__": "replay", "__file__": path, "AdminConn": AdminConn, "Hole": Hole, "case_version": case_version}
    with contextlib.redirect_stdout(chatter), contextlib.redirect_stderr(chatter):
        exec(compile(source, path, "exec"), scope)
    return [line for line in chatter.getvalue().splitlines() if "SECTION FAILED" in line or "Error:" in line]


def load(path):
    """(section, case, how often it came before) -> line"""
    out, seen = {}, {}
    with open(path) as f:
        for line in map(json.loads, f):
            name = (line["section"], line["case"])
            seen[name] = seen.get(name, -1) + 1
            out[(*name, seen[name])] = line
    return out


def shape(line):
    """What is compared: how it was answered, and the error codes by field, wherever they stand in their array."""
    answer = line["answer"] if isinstance(line["answer"], str) else "answered"
    return answer, sorted((re.sub(r"\d+\.", "*.", k), v) for k, v in (line.get("error_codes") or {}).items())


def describe(answer, codes):
    if answer != "answered" and not codes:
        return answer
    wrong = sorted({v for _, v in codes if not v.startswith("0 ")})
    return answer + ": " + (", ".join(wrong) if wrong else "0") + ("" if len(codes) < 2 else f" of {len(codes)}")


def served():
    with contextlib.closing(kproto.Conn(HOST, int(PORT), 10)) as c:
        answer = c.call("ApiVersions", 0, {})
    return {kproto.NAME.get(k["ApiKey"], "?"): (k["MinVersion"], k["MaxVersion"]) for k in answer["ApiKeys"]}


def load_differences():
    rows = []
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden-differences.tsv")) as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                rows.append([*line.rstrip("\n").split("\t"), 0])
    assert all(len(r) == 5 for r in rows), "golden-differences.tsv: four columns by tabs"
    return rows


def main():
    report, ours_path = Report("golden-errors"), tempfile.mktemp(prefix="golden-")
    VERSIONS.update(served())
    rows = load_differences()
    trouble = replay(ours_path)
    ours, unserved, argued = load(ours_path), 0, 0
    for section in SECTIONS:
        for name, theirs in load(os.path.join(GOLDEN, f"errors/{section}.jsonl")).items():
            title, mine = f"{section}: {name[1]}", ours.get(name)
            if mine is None:
                report.fail(title, "did not run")
                continue
            want, got = shape(theirs), shape(mine)
            low, high = VERSIONS.get(theirs.get("api"), (0, -1)) if "api" in theirs else (0, 1 << 20)
            if want == got:
                report.passed += 1
            elif not low <= theirs.get("version", 0) <= high and got[0] == "connection closed":
                unserved += 1
            elif row := argue(rows, section, name[1], describe(*got)):
                row[4] += 1
                argued += 1
            else:
                report.fail(title, f"Kafka: {describe(*want)}; here: {describe(*got)}")
    for line in trouble:
        report.fail("replay", line)
    print(f"  {report.passed} as Kafka, {unserved} of API versions not served (closed), {argued} argued differences")
    report.passed += unserved + argued
    unused = [r[1] for r in rows if r[4] == 0]
    if unused:
        print("  differences that did not occur: " + "; ".join(unused))
    os.remove(ours_path)
    report.close()


def argue(rows, section, case, got):
    """The row of golden-differences.tsv that covers this difference."""
    for row in rows:
        if row[0] == section and fnmatch.fnmatchcase(case, row[1]) and fnmatch.fnmatchcase(got, row[2]):
            return row
    return None


main()
