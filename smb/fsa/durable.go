package fsa

// Held returns what o caches now, as Grant would tell it.
func (f *File[O]) Held(o O) Grant {
	h := f.caches[o]
	if h == nil {
		return Grant{}
	}
	return Grant{Cache: h.state, Breaking: h.breaking, V2: h.v2, Epoch: h.epoch}
}

// Pending returns the break of what o caches that is to be acknowledged, to be told again to who did not hear of it.
func (f *File[O]) Pending(o O) (b Break[O], ok bool) {
	h := f.caches[o]
	if h == nil || !h.breaking {
		return b, false
	}
	b = Break[O]{Opens: append([]O(nil), h.opens...), Key: h.key, From: h.state, To: h.to, Ack: true, ID: h.id}
	if h.v2 {
		b.Epoch = h.epoch
	}
	return b, true
}

// LocksOf returns the byte ranges that o holds, in the order they were granted.
func (f *File[O]) LocksOf(o O) (list []Lock) {
	for i := range f.locks {
		if f.locks[i].owner == o {
			list = append(list, f.locks[i].Lock)
		}
	}
	return list
}

// ModeOf returns how o is open.
func (f *File[O]) ModeOf(o O) Mode { return f.opens[o] }
