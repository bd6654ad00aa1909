package smb

// A signal tells all that wait for a change. Its owner's mutex guards it: who looks and finds nothing takes the
// channel before letting the mutex go, so that no change is missed.
type signal struct{ ch chan struct{} }

// wait returns what is closed at the next change.
func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

// wake tells all that wait now.
func (s *signal) wake() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
