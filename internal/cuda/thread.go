package cuda

import "runtime"

// CUDA keeps the current context per operating system thread; a goroutine may continue on another thread after any
// call. So every call of ours enters: it locks the goroutine to its thread and makes the device's context current there,
// and leaves when it is done. This is the one place where that happens. The context stays current on the thread behind
// us, which harms nobody: the next one to use the thread enters first.

// enterContext locks the goroutine to its thread and makes context current on it.
func (d *Driver) enterContext(context uintptr) (leave func(), err error) {
	runtime.LockOSThread()
	if err := d.check(d.sym.ctxSetCurrent, d.sym.ctxSetCurrent.call(context, 0, 0, 0, 0)); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	return runtime.UnlockOSThread, nil
}

// enter makes the device ready for calls of this goroutine and keeps it open until leave is called. A device that was
// closed or lost gives that error at once, without a call of the driver. Never enter twice: a Close that waits in
// between waits for ever. It allocates nothing.
func (d *Device) enter() (leave func(), err error) {
	d.life.RLock()
	if err := d.usable(); err != nil {
		d.life.RUnlock()
		return nil, err
	}
	if _, err := d.drv.enterContext(d.ctx); err != nil {
		d.life.RUnlock()
		return nil, d.lose(err)
	}
	return d.leave, nil
}

// usable says whether the device may be called: not closed, not lost.
func (d *Device) usable() error {
	if d.closed {
		return d.errClosed
	}
	if lost := d.lost.Load(); lost != nil {
		return lost
	}
	return nil
}
