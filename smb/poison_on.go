//go:build race

package smb

// poison overwrites memory that goes back to the pool, so that a reply which shows bytes nobody wrote into it is seen
// by the tests (SEC-12). Only test builds pay for it: it is tied to -race.
func poison(b []byte) {
	if len(b) > 1<<16 { // the head is where a stale reply would start; filling megabytes would drown the race detector
		b = b[:1<<16]
	}
	for i := range b {
		b[i] = 0xA5
	}
}
