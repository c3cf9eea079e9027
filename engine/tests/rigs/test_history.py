"""The rigs' own judge, held against histories with one planted fault each: a blind judge would pass everything."""
from history import History, key_of, value_of
from report import Report


def written(history, count):
    out = []
    for n in range(count):
        history.note_sent(1, n)
        key = key_of(1, n, 0, 50)
        out.append((n, key, value_of(key, 50)))
    return out


def judge(spoil):
    history = History(1)
    log = written(history, 10)
    for offset, key, _ in log:
        history.note_acked(0, offset, key)
    spoil(history, log)
    history.verify([log])
    return set(history.anomalies)


def swap(log, a, b):
    log[a], log[b] = (a, *log[b][1:]), (b, *log[a][1:])


def see(history, offset, record):
    history.note_seen(0, offset, record[1], record[2])


CASES = {
    "nothing wrong": (lambda h, log: None, set()),
    "last record gone": (lambda h, log: log.pop(), {"lost"}),
    "record gone from the middle": (lambda h, log: log.pop(4), {"hole", "lost"}),
    "record twice": (lambda h, log: log.append((10, *log[9][1:])), {"duplicate"}),
    "two records swapped": (lambda h, log: swap(log, 4, 5), {"moved", "reordered"}),
    "record never sent": (lambda h, log: log.append((10, b"7.7.0.5", b"")), {"phantom"}),
    "record of another partition": (lambda h, log: log.append((10, b"1.9.3.50", value_of(b"1.9.3.50", 50))), {"phantom"}),
    "one byte changed": (lambda h, log: log.__setitem__(4, (4, log[4][1], b"x" + log[4][2][1:])), {"torn", "lost"}),
    "another record was seen there": (lambda h, log: see(h, 3, log[4]), {"moved"}),
    "acknowledged twice at one offset": (lambda h, log: h.note_acked(0, 4, log[5][1]), {"moved"}),
    "repetition without offset, present": (lambda h, log: h.note_acked(0, None, log[9][1]), set()),
    "repetition without offset, absent": (lambda h, log: h.note_acked(0, None, b"1.5.9.50"), {"lost"}),
}

report = Report("rig-judge")
for name, (spoil, want) in CASES.items():
    got = judge(spoil)
    report.expect(name, got == want, f"found {got or '{}'}, wanted {want or '{}'}" if got != want else "")
report.close()
