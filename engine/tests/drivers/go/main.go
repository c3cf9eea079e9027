// Command clients runs franz-go or sarama against a broker:
//
//	clients franz|sarama HOST:PORT
//
// One `ok NAME` or `FAIL NAME why` line per check and a closing count.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// start is the time of every topic's first record: recent enough for retention, in whole seconds.
var start = time.Now().Add(-time.Hour).Truncate(time.Second).UnixMilli()

type report struct{ passed, failed int }

func (r *report) run(name string, check func() error) {
	if err := check(); err != nil {
		r.failed++
		fmt.Printf("FAIL %s %s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	r.passed++
	fmt.Printf("ok %s\n", name)
}

// until tries again for ten seconds: Kafka applies changes to its metadata a little after the answer.
func until(holds func() (bool, error)) error {
	end := time.Now().Add(10 * time.Second)
	for {
		good, err := holds()
		if good {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("did not become true (%v)", err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: clients franz|sarama HOST:PORT")
		os.Exit(2)
	}
	r, title := &report{}, os.Args[1]
	topic := fmt.Sprintf("%s-%d", title, time.Now().UnixNano())
	switch title {
	case "franz":
		franz(r, os.Args[2], topic)
	case "sarama":
		saramaChecks(r, os.Args[2], topic)
	default:
		fmt.Fprintln(os.Stderr, "unknown client", title)
		os.Exit(2)
	}
	fmt.Printf("%s: %d passed, %d failed\n", title, r.passed, r.failed)
	if r.failed > 0 {
		os.Exit(1)
	}
}
