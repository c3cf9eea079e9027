"""`ok NAME` / `FAIL NAME why` / `skip NAME why` lines and the closing count that every driver and rig prints."""
import sys, traceback


class Report:
    def __init__(self, title):
        self.title, self.passed, self.failed, self.skipped = title, 0, 0, 0

    def ok(self, name, note=""):
        self.passed += 1
        print(f"ok {name} {note}".rstrip(), flush=True)

    def fail(self, name, why):
        self.failed += 1
        print(f"FAIL {name} {' '.join(str(why).split())[:600]}", flush=True)

    def skip(self, name, why):
        self.skipped += 1
        print(f"skip {name} {why}", flush=True)

    def expect(self, name, holds, why=""):
        self.ok(name, why if holds else "") if holds else self.fail(name, why)
        return bool(holds)

    def run(self, name, check, *args):
        """Runs one check; what it returns is the note, what it raises is the failure."""
        try:
            note = check(*args)
            self.ok(name, note if isinstance(note, str) else "")
            return True
        except Exception as e:
            if "-v" in sys.argv:
                traceback.print_exc()
            self.fail(name, f"{type(e).__name__}: {e}")
            return False

    def close(self):
        """Prints the closing line and ends the program with the matching status."""
        tail = f", {self.skipped} skipped" if self.skipped else ""
        print(f"{self.title}: {self.passed} passed, {self.failed} failed{tail}", flush=True)
        sys.stdout.flush()
        sys.exit(1 if self.failed or not self.passed + self.skipped else 0)
