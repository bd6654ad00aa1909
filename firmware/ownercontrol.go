package main

import (
	"context"
	"errors"
	"time"

	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/firmware/update/stick"
	"github.com/postern-nas/postern/ui"
	"github.com/postern-nas/postern/ui/web"
)

// How serving ends because its owner asked for it, from the panel or the page.
var (
	errAgain = errors.New("start again")
	errOff   = errors.New("shut down")
	errReset = errors.New("factory reset")
)

// endAfter is how long an answer to who asked for the end has to go out.
const endAfter = 700 * time.Millisecond

// ownerControl is what an owner may do. It implements ui.Control.
type ownerControl struct {
	w       *world
	end     context.CancelCauseFunc // of serving
	machine *boot.Box               // nil: the machine does other things, too
	stick   *stick.Watcher          // nil: the same
}

var _ ui.Control = (*ownerControl)(nil)

var errNoPairing = errors.New("this box pairs no devices")

func (c *ownerControl) StartPairing(ctx context.Context) error {
	if c.w.desk == nil {
		return errNoPairing
	}
	_, err := c.w.desk.Start(ctx, "")
	c.w.nudge()
	return err
}

func (c *ownerControl) StopPairing(ctx context.Context, id string) error {
	if c.w.desk == nil {
		return errNoPairing
	}
	defer c.w.nudge()
	return c.w.desk.Stop(ctx, id)
}

func (c *ownerControl) AnswerPairing(ctx context.Context, id string, accept bool) error {
	if c.w.desk == nil {
		return errNoPairing
	}
	defer c.w.nudge()
	return c.w.desk.Answer(ctx, id, accept)
}

func (c *ownerControl) RevokeAll(ctx context.Context) error {
	if c.w.desk == nil {
		return errNoPairing
	}
	defer c.w.nudge()
	return c.w.desk.RevokeAll(ctx)
}

func (c *ownerControl) InstallStick(ctx context.Context) error {
	if c.stick == nil {
		return update.ErrNoBox
	}
	defer c.w.nudge()
	return c.stick.Install(ctx)
}

// Restart starts Postern again, and a box with it.
func (c *ownerControl) Restart(context.Context) error {
	if c.machine != nil {
		time.AfterFunc(endAfter, c.machine.Restart)
		return nil
	}
	c.soon(errAgain)
	return nil
}

func (c *ownerControl) Shutdown(context.Context) error {
	if c.machine != nil {
		time.AfterFunc(endAfter, c.machine.PowerOff)
		return nil
	}
	c.soon(errOff)
	return nil
}

// FactoryReset erases the settings and starts again.
func (c *ownerControl) FactoryReset(ctx context.Context) error {
	c.w.record(ctx, audit.Event{ID: audit.FactoryReset, OK: true})
	c.soon(errReset)
	return nil
}

func (c *ownerControl) soon(why error) { time.AfterFunc(endAfter, func() { c.end(why) }) }

// commandKey marks what is done for a command, at the machine or from elsewhere.
type commandKey struct{}

// byWhom says for the audit log who does what is done in ctx, and by what way.
func byWhom(ctx context.Context) string {
	by := web.By(ctx)
	switch command := ctx.Value(commandKey{}) != nil; {
	case by.User == "local", command && by.User == "":
		return byCommand
	case command:
		return audit.By(audit.CommandPrefix, by.User, by.Device)
	case by.User == "":
		return "panel"
	}
	return audit.By(audit.PagePrefix, by.User, by.Device)
}

// record writes an event of the owner's doing down, with who it was.
func (w *world) record(ctx context.Context, e audit.Event) {
	if w.journal == nil {
		return
	}
	by := web.By(ctx)
	e.By = byWhom(ctx)
	if by.From.IsValid() && !e.Address.IsValid() {
		e.Address = by.From
	}
	w.journal.Record(e)
}
