package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// steps are their names in addresses, in the order of Step.
var steps = []string{"name", "owner", "disks", "share", "outside", "finish"}

// codePage is where the QR code leads. Reading it changes nothing: programs that look at every address in advance do.
func (s *Server) codePage(w http.ResponseWriter, r *http.Request) {
	if !s.box.Setup.Due() {
		http.Redirect(w, r, "/signin", http.StatusSeeOther)
		return
	}
	s.ask(w, r, "setup", http.StatusOK, nil, url.Values{"code": {r.PathValue("code")}, "linked": {"true"}})
}

// setupSession is the session of who does the first setup.
func (s *Server) setupSession(r *http.Request) *session {
	if ses := s.sessions.find(r, false); ses != nil && ses.user == "" && (s.box.Setup.Due() || ses.works()) {
		return ses
	}
	return nil
}

// works reports whether a plan of the session is carried out, or was and nobody has seen what came of it.
func (s *session) works() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.work != nil
}

func (s *Server) setupPage(w http.ResponseWriter, r *http.Request) {
	ses := s.setupSession(r)
	if ses != nil && s.working(w, r, ses) {
		return
	}
	if !s.box.Setup.Due() {
		http.Redirect(w, r, "/signin", http.StatusSeeOther)
		return
	}
	if ses == nil {
		s.ask(w, r, "setup", http.StatusOK, nil, url.Values{"back": {r.URL.Query().Get("back")}})
		return
	}
	ses.mu.Lock()
	step := ses.step
	ses.mu.Unlock()
	for i, name := range steps { // back to one that was done
		if r.URL.Query().Get("step") == name && Step(i) < step {
			step = Step(i)
		}
	}
	s.showStep(w, r, ses, step, http.StatusOK, nil, nil)
}

// enterSetup takes the one-time code.
func (s *Server) enterSetup(w http.ResponseWriter, r *http.Request) {
	if !s.box.Setup.Due() {
		http.Redirect(w, r, "/signin", http.StatusSeeOther)
		return
	}
	v, err := readForm(w, r)
	if err == nil && !s.sessions.genuine(r, v.Get("token")) {
		err = errToken
	}
	from := address(r.RemoteAddr)
	if err == nil {
		if wait := s.limit.try(from); wait > 0 {
			err = &statusError{http.StatusTooManyRequests, "too many wrong codes from here; try again in " + waitText(wait)}
		} else if !s.codes.use(strings.TrimSpace(v.Get("code"))) {
			s.log.Warn("wrong setup code", "from", from)
			err = &statusError{http.StatusForbidden, "this is not the code; read it from the panel again, it may have changed"}
		}
	}
	if err != nil {
		v.Del("linked")
		v.Del("code")
		s.ask(w, r, "setup", statusOf(err), err, v)
		return
	}
	s.limit.right(from)
	s.log.Info("the first setup begins", "from", from)
	// One at a time: whoever has read the panel last.
	s.sessions.finish(func(o *session) bool { return o.user == "" })
	s.sessions.begin(w, "", "", nil)
	http.Redirect(w, r, "/setup", http.StatusSeeOther)
}

// setupStep takes what one step of the wizard asks. Nothing is done before the last.
func (s *Server) setupStep(w http.ResponseWriter, r *http.Request) {
	ses := s.setupSession(r)
	if ses == nil {
		http.Redirect(w, r, "/setup", http.StatusSeeOther)
		return
	}
	step := Step(-1)
	for i, name := range steps {
		if r.PathValue("step") == name {
			step = Step(i)
		}
	}
	v, err := s.posted(w, r, ses)
	ses.mu.Lock()
	plan, reached := ses.plan, ses.step
	ses.mu.Unlock()
	if step < 0 || step > reached || ses.works() {
		http.Redirect(w, r, "/setup", http.StatusSeeOther)
		return
	}
	if err == nil {
		plan.take(step, v)
		if step == StepFinish {
			s.finishSetup(w, r, ses, plan)
			return
		}
		err = s.box.Setup.Check(as(r.Context(), Actor{User: "setup", From: address(r.RemoteAddr)}), plan, step)
	}
	if err != nil {
		s.showStep(w, r, ses, step, statusOf(err), err, &plan)
		return
	}
	ses.mu.Lock()
	ses.plan, ses.step = plan, max(ses.step, step+1)
	ses.mu.Unlock()
	http.Redirect(w, r, "/setup?step="+steps[step+1], http.StatusSeeOther)
}

// take puts what a form says into the plan.
func (p *Plan) take(step Step, v url.Values) {
	text := func(key string) string { return strings.TrimSpace(v.Get(key)) }
	switch step {
	case StepName:
		p.Name, p.Zone = strings.ToLower(text("name")), text("zone")
	case StepOwner:
		p.Owner = text("owner")
		if pw := v.Get("password"); pw != "" { // it is not sent back to the browser: left empty it stays
			p.Password = pw
		}
	case StepDisks:
		p.Place = text("place")
	case StepShare:
		p.Share = text("share")
	case StepOutside:
		p.Outside, p.OutsideName = on(v, "outside"), strings.ToLower(text("outside_name"))
	}
}

// A work is a plan that is being carried out.
type work struct {
	mu      sync.Mutex
	step    string
	percent int
	done    chan struct{} // closed when it has ended
	err     error         // read when it has
	seen    chan struct{} // closed when the browser has been told that it is well done
}

// seenWithin is how long the box waits for the browser before it starts again without having told it.
const seenWithin = 15 * time.Second

func (k *work) tell(step string, percent int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.step, k.percent = step, percent
}

func (k *work) now() (step string, percent int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.step, k.percent
}

// soon is how long a browser is left waiting for work before it is shown how far it is.
const soon = 1200 * time.Millisecond

// finishSetup begins to carry out a plan, once at a time. It goes on when the browser has gone: half a pool is none.
func (s *Server) finishSetup(w http.ResponseWriter, r *http.Request, ses *session, plan Plan) {
	from := address(r.RemoteAddr)
	ses.mu.Lock()
	k := ses.work
	if k == nil {
		k = &work{done: make(chan struct{}), seen: make(chan struct{})}
		ses.work = k
		ctx := as(context.WithoutCancel(r.Context()), Actor{User: "setup", From: from})
		go func() {
			k.err = s.box.Setup.Carry(ctx, plan, k.tell)
			close(k.done)
			if k.err != nil {
				return
			}
			s.log.Info("the first setup is done", "owner", plan.Owner, "from", from)
			select {
			case <-k.seen:
			case <-time.After(seenWithin):
			}
			s.box.Setup.Begin()
		}()
	}
	ses.mu.Unlock()
	select {
	case <-k.done:
	case <-time.After(soon):
	}
	http.Redirect(w, r, "/setup", http.StatusSeeOther)
}

// working shows how far the work of a session is, and what came of it. It says false if there is none.
func (s *Server) working(w http.ResponseWriter, r *http.Request, ses *session) bool {
	ses.mu.Lock()
	k, plan := ses.work, ses.plan
	ses.mu.Unlock()
	if k == nil {
		return false
	}
	select {
	case <-k.done:
	default:
		step, percent := k.now()
		s.render(w, "working", http.StatusOK, &view{Page: "working", Data: struct {
			Step    string
			Percent int
		}{sentence(step), percent}})
		return true
	}
	ses.mu.Lock()
	first := ses.work == k
	ses.work = nil
	ses.mu.Unlock()
	if !first { // another request of the same browser has taken it
		return false
	}
	if k.err != nil {
		s.showStep(w, r, ses, StepFinish, statusOf(k.err), k.err, &plan)
		return true
	}
	close(k.seen) // once: k was taken out of the session
	s.sessions.finish(func(o *session) bool { return o.user == "" })
	setCookie(w, cookieName, "", -1)
	http.Redirect(w, r, s.restarting(plan.Name), http.StatusSeeOther)
	return true
}

// setupView is what the wizard shows.
type setupView struct {
	Plan   Plan
	Step   Step
	Name   string // of the step
	Steps  []string
	Before string // the step before
	Places []Place
	Shares []string // that are there already
	Has    bool     // a password was chosen
}

func (s *Server) showStep(w http.ResponseWriter, r *http.Request, ses *session, step Step, status int, wrong error, tried *Plan) {
	ses.mu.Lock()
	plan := ses.plan
	ses.mu.Unlock()
	if tried != nil {
		plan = *tried
	}
	v, err := s.view(r, ses, "wizard")
	if wrong == nil {
		wrong = err
	}
	if plan.Name == "" {
		plan.Name = v.State.Name
	}
	d := setupView{Plan: plan, Step: step, Name: steps[step], Steps: steps, Has: plan.Password != ""}
	d.Plan.Password = ""
	if step > 0 {
		d.Before = steps[step-1]
	}
	if step == StepDisks || step == StepFinish {
		d.Places = s.box.Setup.Places(r.Context())
	}
	for _, sh := range v.State.Shares {
		d.Shares = append(d.Shares, sh.Name)
	}
	v.Menu, v.Data = nil, d
	if wrong != nil {
		v.Problem = sentence(wrong.Error())
	}
	s.render(w, "wizard", status, v)
}
