// Package smbtorture runs Samba's own exam of an SMB server, smbtorture, and compares what came out with a text file of
// expectations. It outlives what the exam does to itself: a test that hangs is killed at its limit, a test that takes
// the program down with it is noted, and the run goes on with the tests that are left.
package smbtorture

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"time"
)

// Result is how a test ended.
type Result string

// The first four are smbtorture's words; the last two say how it ended without a word.
const (
	Success Result = "success"
	Failure Result = "failure" // an assertion did not hold
	Error   Result = "error"   // the test could not be carried out
	Skip    Result = "skip"    // the test found itself not applicable
	Timeout Result = "timeout" // killed at its limit
	Crash   Result = "crash"   // smbtorture ended in the middle of the test
)

// worse orders results for tests that report more than once.
var worse = map[Result]int{Skip: 0, Success: 1, Failure: 2, Error: 3, Timeout: 4, Crash: 5}

// Outcome is a test's result with its reason: what the test printed, or what happened to it.
type Outcome struct {
	Result Result
	Reason string
	Took   time.Duration // 0 if it is not known
}

// An event of a subunit stream: a test begins (Result is empty), or ends.
type event struct {
	test string
	Outcome
}

// maxReason bounds what is kept of a reason; some tests print whole packets.
const maxReason = 2000

// readSubunit reads a subunit (version 1) text stream to its end and reports each begin and end of a test. Lines it
// does not know, which smbtorture mixes in freely, go to rest. A reason that the stream's end cuts short is still
// reported.
func readSubunit(r io.Reader, on func(event), rest func(line string)) error {
	words := map[string]Result{
		"success": Success, "successful": Success, "failure": Failure, "error": Error, "skip": Skip, "xfail": Failure,
	}
	in := bufio.NewReaderSize(r, 64<<10)
	var open *event // an end whose bracketed reason is being read
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil // no line of the protocol is this long: take the pieces as lines
		}
		text := strings.ToValidUTF8(strings.TrimRight(string(line), "\r\n "), "?")
		verb, arg, found := strings.Cut(text, ": ")
		result, ends := words[verb]
		switch {
		case len(line) == 0:
		case open != nil && text == "]":
			on(*open)
			open = nil
		case open != nil:
			if room := maxReason - len(open.Reason); room > 0 {
				open.Reason = strings.TrimPrefix(open.Reason+"\n"+text[:min(len(text), room)], "\n")
			}
		case found && verb == "test":
			on(event{test: arg})
		case found && ends:
			test, bracket := strings.CutSuffix(arg, " [")
			e := event{test: test, Outcome: Outcome{Result: result}}
			if bracket {
				open = &e
			} else {
				on(e)
			}
		case found && (verb == "time" || verb == "progress"):
		default:
			rest(text)
		}
		if err != nil {
			if open != nil {
				on(*open)
			}
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
}
