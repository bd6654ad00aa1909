package web

import (
	"net/http"
	"net/url"
	"strings"
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
	if ses := s.sessions.find(r, false); ses != nil && ses.user == "" && s.box.Setup.Due() {
		return ses
	}
	return nil
}

func (s *Server) setupPage(w http.ResponseWriter, r *http.Request) {
	if !s.box.Setup.Due() {
		http.Redirect(w, r, "/signin", http.StatusSeeOther)
		return
	}
	ses := s.setupSession(r)
	if ses == nil {
		s.ask(w, r, "setup", http.StatusOK, nil, nil)
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
	if step < 0 || step > reached {
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
		p.Name = strings.ToLower(text("name"))
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

func (s *Server) finishSetup(w http.ResponseWriter, r *http.Request, ses *session, plan Plan) {
	from := address(r.RemoteAddr)
	if err := s.box.Setup.Carry(as(r.Context(), Actor{User: "setup", From: from}), plan); err != nil {
		s.showStep(w, r, ses, StepFinish, statusOf(err), err, &plan)
		return
	}
	s.log.Info("the first setup is done", "owner", plan.Owner, "from", from)
	s.sessions.finish(func(o *session) bool { return o.user == "" })
	setCookie(w, cookieName, "", -1)
	http.Redirect(w, r, "/restarting", http.StatusSeeOther)
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
