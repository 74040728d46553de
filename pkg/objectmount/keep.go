package objectmount

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/mount"
)

const (
	firstPause = 500 * time.Millisecond // before a program is started anew that ended soon after its start
	lastPause  = time.Minute
	calm       = 10 * time.Minute // a program that ran so long ended by chance
	// linger is how long a program may take to end by itself that has nothing left to upload.
	linger = 5 * time.Second
	// reopenLimit is how long s3fs tries again what fails.
	reopenLimit = 20 * time.Second
)

// takeOver goes on with what an earlier mounter noted. A program that runs finds its way to the bucket open again.
func (u *unit) takeOver() {
	last := u.Process
	u.Process = nil
	if last != nil {
		u.Process, _ = adopt(last.ID, last.Started)
	}
	runs := u.Process != nil
	u.m.work.Go(func() {
		if runs && !u.reopen() {
			return
		}
		u.keep()
	})
}

// thaw lets a bucket be written to again that an earlier mounter froze, and then ended before it had unmounted it.
func (u *unit) thaw() {
	layers, err := mount.Layers(u.Staging)
	if n := len(layers); err != nil || n == 0 || layers[n-1].Device != u.Device || !layers[n-1].ReadOnly || u.Plan.ReadOnly || !u.Ending.IsZero() {
		return
	}
	if err := mount.Thaw(u.Staging); err != nil {
		klog.FromContext(u.m.ctx).Error(err, "A bucket takes no writes", "volume", u.handle)
	}
}

// reopen opens the way to the bucket where the program expects it; false if the mounter ends. Where another has its place, and
// keeps it, the program could only fail, and is ended; anything else may pass, and the program may hold what was not uploaded.
func (u *unit) reopen() bool {
	ctx, log := u.m.ctx, klog.FromContext(u.m.ctx).WithValues("volume", u.handle)
	pause := firstPause
	for begin := time.Now(); ; {
		if u.take(ctx) != nil {
			return false
		}
		done, err := u.tryReopen(ctx, time.Since(begin) > reopenLimit)
		u.release()
		if err != nil {
			log.Error(err, "The way to a bucket that is mounted is not open again; it is tried again")
		}
		if done {
			return true
		}
		if !rest(ctx, pause) {
			return false
		}
		if time.Since(begin) > reopenLimit {
			pause = min(2*pause, lastPause)
		}
	}
}

// tryReopen reports whether nothing is left to open; late says that the program has been waiting for long.
func (u *unit) tryReopen(ctx context.Context, late bool) (done bool, err error) {
	if u.gone || !u.Ending.IsZero() || u.Process == nil || !u.Process.alive() {
		return true, nil
	}
	_, err = u.m.Gate.Open(ctx, u.id, u.Plan, u.Credentials, u.Access)
	switch {
	case err == nil:
		u.thaw()
		if u.dark() {
			u.rebind(ctx, Loss{Handle: u.handle, Reason: "the mounter was ended before all targets saw it again"})
		}
		return true, nil
	case late && errors.Is(err, unix.EADDRINUSE):
		err = errors.Join(err, u.stop())
		return u.Process == nil, err
	}
	return false, err
}

// keep mounts again what is lost, until the unit is gone or the mounter ends.
func (u *unit) keep() {
	ctx := klog.NewContext(u.m.ctx, klog.FromContext(u.m.ctx).WithValues("volume", u.handle))
	pause, began := time.Duration(0), time.Now()
	for u.attend(ctx) {
		if time.Since(began) > calm {
			pause = 0
		}
		if !rest(ctx, pause) {
			return
		}
		pause = min(max(2*pause, firstPause), lastPause)
		if u.take(ctx) != nil {
			return
		}
		over := u.restore(ctx)
		u.release()
		if over {
			return
		}
		began = time.Now()
	}
}

// rest waits; false if ctx has ended.
func rest(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}

// attend returns true when the program has ended, and ends it if it hangs; false if ctx has ended.
func (u *unit) attend(ctx context.Context) bool {
	look := time.NewTicker(min(u.m.Patience/8, linger))
	defer look.Stop()
	idle := make(chan struct{}, 1)
	idle <- struct{}{}
	for answered := time.Now(); ; {
		if u.take(ctx) != nil {
			return false
		}
		p, ending, staging, device := u.Process, u.Ending, u.Staging, u.Device
		settled := u.Settled
		u.release()
		if p == nil {
			return true
		}
		select {
		case <-p.done:
			return true
		case <-ctx.Done():
			return false
		case <-look.C:
		}
		shorten(u.dir())
		select {
		case <-idle: // the last question was answered
			answered = time.Now()
			u.m.asks.Go(func() { _ = mount.Ask(staging); idle <- struct{}{} })
		default:
		}
		switch {
		case settled && time.Since(ending) > linger:
			if err := p.kill(); err != nil {
				klog.FromContext(ctx).Error(err, "A program that has nothing left to do does not end")
			}
		case !ending.IsZero() && time.Since(ending) > u.m.Patience:
			u.give(ctx, p, device, "what was written does not arrive")
		case ending.IsZero() && time.Since(answered) > u.m.Patience:
			u.give(ctx, p, device, "it answers nothing")
		}
	}
}

// give ends a program that is given up.
func (u *unit) give(ctx context.Context, p *process, device, why string) {
	klog.FromContext(ctx).Info("The program of a mount is ended; what it had not uploaded is lost", "reason", why, "for", u.m.Patience.String())
	abort(device)
	if err := p.kill(); err != nil {
		klog.FromContext(ctx).Error(err, "It is tried again")
	}
}

// restore mounts what was lost, or ends what was unmounted; true if the unit is gone.
func (u *unit) restore(ctx context.Context) bool {
	log := klog.FromContext(ctx)
	switch {
	case u.gone:
		return true
	case !u.Ending.IsZero():
		if err := u.finish(); err != nil {
			log.Error(err, "Something is left of a bucket that was unmounted")
		}
		return true
	}
	if err := u.sound(ctx); err != nil {
		log.Error(err, "A bucket that was lost could not be mounted again; it is tried again")
	}
	return false
}

// repair mounts a bucket again, and binds its targets anew.
func (u *unit) repair(ctx context.Context) error {
	log := klog.FromContext(ctx)
	loss := Loss{Handle: u.handle, Reason: u.outOfMemory()}
	if loss.OutOfMemory = loss.Reason != ""; !loss.OutOfMemory {
		loss.Reason = u.ending()
	}
	if u.Process != nil {
		if err := u.stop(); err != nil {
			return err
		}
	}
	log.Info("A bucket was lost and is mounted again", "reason", loss.Reason)
	if err := u.start(ctx); err != nil {
		return err
	}
	u.rebind(ctx, loss)
	return nil
}

// ending is how the program ended, as far as it can be known: what it wrote, or else its status.
func (u *unit) ending() string {
	if text := u.lastWords(); text != "" || u.Process == nil || u.Process.alive() {
		return text
	}
	return u.Process.status
}

// dark reports whether a target shows a mount that was lost, and not the one that is there now.
func (u *unit) dark() bool {
	return slices.ContainsFunc(u.Targets, func(t target) bool {
		layers, err := mount.Layers(t.Path)
		n := len(layers)
		return err == nil && n > 0 && u.m.ours(layers[n-1], u.handle) && layers[n-1].Device != u.Device
	})
}

// rebind makes the targets show the mount that is there now, and tells of those that did not.
func (u *unit) rebind(ctx context.Context, loss Loss) {
	for _, t := range u.Targets {
		layers, err := mount.Layers(t.Path)
		if n := len(layers); err == nil && n > 0 && layers[n-1].Device == u.Device {
			continue
		}
		if err == nil {
			err = u.bind(t)
		}
		if err != nil {
			klog.FromContext(ctx).Error(err, "A target does not see the bucket again; it does once it is published again", "target", t.Path)
		}
		loss.Targets = append(loss.Targets, t.Path)
	}
	if u.m.Lost != nil {
		u.m.Lost(loss)
	}
}
