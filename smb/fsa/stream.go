package fsa

// A file and each of its named streams are Files of their own: what is done to one disturbs no other, with one
// exception. Who may delete the file deletes its streams with it, so that is judged against all of them. (The other way
// around nothing is: a stream may be deleted under a file that is open without sharing that.)

// WholeBeside judges whether an open of the whole file could stand beside those of this stream.
func (f *File[O]) WholeBeside(whole Mode) ([]Break[O], error) {
	return f.judge(whole, func(whole, stream Mode) bool { return stream.keeps(whole) })
}

// StreamBeside judges whether an open of one of its streams could stand beside those of this file.
func (f *File[O]) StreamBeside(stream Mode) ([]Break[O], error) {
	return f.judge(stream, func(stream, whole Mode) bool { return stream.keeps(whole) })
}

// keeps reports whether m, of a stream, excludes an open that may delete the whole file.
func (m Mode) keeps(whole Mode) bool {
	return m.Access&shared != 0 && m.Share&ShareDelete == 0 && whole.Access&Delete != 0
}
