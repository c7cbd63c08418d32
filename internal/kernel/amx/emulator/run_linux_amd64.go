package emulator

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	optionExitKill = 0x100000   // PTRACE_O_EXITKILL: the child dies with this process
	waitOurs       = 0x20000000 // __WNOTHREAD: children of this thread only
	waitAll        = 0x40000000 // __WALL: threads too
)

// supported says why this machine cannot emulate; "" when it can.
func supported() string { return "" }

// tracer runs one child.
type tracer struct {
	pid     int
	threads map[int]*Machine
	started map[int]bool
	kept    bool            // a thread ended with tiles configured
	decoded map[uint64]Inst // by address, Len 0: no tile instruction; code does not change
	count   int
}

// Run starts command and waits for its end. Tile instructions that the processor refuses are executed here; all else the
// child does itself, and every signal but theirs reaches it. It returns the number of tile instructions. The error wraps
// ErrNotPermitted where this process may not trace another; it says how the child ended when that was not with exit code
// 0, or when one of its threads had not released its tiles; and it wraps a *Fault, with the place, where a tile
// instruction was wrong: the child is dead then.
//
// The command's Stdout and Stderr must be nil or files.
func Run(command *exec.Cmd) (instructions int, err error) {
	runtime.LockOSThread() // ptrace obeys the thread that started the child
	defer runtime.UnlockOSThread()
	command.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := command.Start(); err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EACCES) {
			return 0, fmt.Errorf("%w: %w", ErrNotPermitted, err)
		}
		return 0, err
	}
	t := &tracer{pid: command.Process.Pid, threads: map[int]*Machine{}, started: map[int]bool{}, decoded: map[uint64]Inst{}}
	err = t.run()
	if release := command.Process.Release(); err == nil {
		err = release
	}
	return t.count, err
}

func (t *tracer) run() error {
	var status syscall.WaitStatus
	if _, err := t.wait(t.pid, &status); err != nil {
		return fmt.Errorf("wait for the child: %w", err)
	}
	if !status.Stopped() {
		return fmt.Errorf("%w: the child was not stopped at its start", ErrNotPermitted)
	}
	if err := syscall.PtraceSetOptions(t.pid, syscall.PTRACE_O_TRACECLONE|optionExitKill); err != nil {
		return errors.Join(fmt.Errorf("%w: %w", ErrNotPermitted, err), t.kill())
	}
	t.started[t.pid] = true
	memory := process(t.pid)
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(t.pid, &regs); err != nil {
		return errors.Join(fmt.Errorf("%w: %w", ErrNotPermitted, err), t.kill())
	}
	if _, err := memory.ReadAt(make([]byte, 1), int64(regs.Rip)); err != nil {
		return errors.Join(fmt.Errorf("%w: read the child's memory: %w", ErrNotPermitted, err), t.kill())
	}
	for tid, signal := t.pid, 0; ; {
		if err := syscall.PtraceCont(tid, signal); err != nil && !errors.Is(err, syscall.ESRCH) { // gone: killed meanwhile
			return errors.Join(fmt.Errorf("continue thread %d: %w", tid, err), t.kill())
		}
		var err error
		if tid, err = t.wait(-1, &status); err != nil {
			return fmt.Errorf("wait for the child: %w", err)
		}
		signal = 0
		switch {
		case status.Exited() || status.Signaled():
			t.kept = t.kept || t.threads[tid] != nil && t.threads[tid].Configured()
			delete(t.threads, tid)
			delete(t.started, tid)
			if tid != t.pid {
				break
			}
			if status.Signaled() || status.ExitStatus() != 0 {
				return fmt.Errorf("the child ended with %v", describe(status))
			}
			if t.kept {
				return errors.New("a thread ended with tiles configured: there is no TILERELEASE on some path")
			}
			return nil
		case !status.Stopped():
		case status.StopSignal() == syscall.SIGTRAP && status.TrapCause() > 0: // a thread was made
		case status.StopSignal() == syscall.SIGSTOP && !t.started[tid]:
			t.started[tid] = true
		case status.StopSignal() == syscall.SIGILL:
			done, err := t.step(tid, memory)
			if err != nil {
				return errors.Join(err, t.kill())
			}
			if !done {
				signal = int(syscall.SIGILL)
			}
		default:
			signal = int(status.StopSignal())
		}
	}
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal " + status.Signal().String()
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}

func (t *tracer) wait(pid int, status *syscall.WaitStatus) (int, error) {
	for {
		tid, err := syscall.Wait4(pid, status, waitAll|waitOurs, nil)
		if !errors.Is(err, syscall.EINTR) {
			return tid, err
		}
	}
}

// kill ends the child and all its threads.
func (t *tracer) kill() error {
	if err := syscall.Kill(t.pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill the child: %w", err)
	}
	var status syscall.WaitStatus
	for {
		tid, err := t.wait(-1, &status)
		if err != nil || tid == t.pid && (status.Exited() || status.Signaled()) {
			return err
		}
	}
}

// step executes the tile instruction where the thread stands, and those that follow it without any other between.
func (t *tracer) step(tid int, memory Memory) (bool, error) {
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(tid, &regs); err != nil {
		return false, fmt.Errorf("registers of thread %d: %w", tid, err)
	}
	m := t.threads[tid]
	if m == nil {
		m = new(Machine)
		t.threads[tid] = m
	}
	r := Registers{General: [16]uint64{
		regs.Rax, regs.Rcx, regs.Rdx, regs.Rbx, regs.Rsp, regs.Rbp, regs.Rsi, regs.Rdi,
		regs.R8, regs.R9, regs.R10, regs.R11, regs.R12, regs.R13, regs.R14, regs.R15,
	}}
	steps := 0
	for ; ; steps++ {
		i, err := t.decode(regs.Rip, memory)
		if err == nil && i.Len > 0 {
			r.Next = regs.Rip + uint64(i.Len)
			err = m.Execute(i, &r, memory)
		}
		if err != nil {
			return false, fmt.Errorf("at %s: %w", place(regs.Rip), err)
		}
		if i.Len == 0 {
			break
		}
		regs.Rip = r.Next
	}
	t.count += steps
	if steps == 0 {
		return false, nil
	}
	if err := syscall.PtraceSetRegs(tid, &regs); err != nil {
		return false, fmt.Errorf("registers of thread %d: %w", tid, err)
	}
	return true, nil
}

// process is the memory of a process. Accesses obey the protection of pages, unlike those through /proc/PID/mem.
type process int

// ReadAt reads all of b or fails.
func (p process) ReadAt(b []byte, at int64) (int, error) { return p.move(unix.ProcessVMReadv, b, at) }

// WriteAt writes all of b or fails.
func (p process) WriteAt(b []byte, at int64) (int, error) { return p.move(unix.ProcessVMWritev, b, at) }

func (p process) move(f func(int, []unix.Iovec, []unix.RemoteIovec, uint) (int, error), b []byte, at int64) (int, error) {
	n, err := f(int(p), []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}, []unix.RemoteIovec{{Base: uintptr(at), Len: len(b)}}, 0)
	if err == nil && n < len(b) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// place names the function at an address, for which the child must be this very program.
func place(at uint64) string {
	if f := runtime.FuncForPC(uintptr(at)); f != nil {
		return fmt.Sprintf("%s+%#x", f.Name(), at-uint64(f.Entry()))
	}
	return fmt.Sprintf("%#x", at)
}

func (t *tracer) decode(at uint64, memory Memory) (Inst, error) {
	if i, ok := t.decoded[at]; ok {
		return i, nil
	}
	var code [15]byte
	n, err := memory.ReadAt(code[:], int64(at)) // fewer than 15 bytes at the end of the code
	if n == 0 {
		return Inst{}, fmt.Errorf("read code at %#x: %w", at, err)
	}
	i, err := Decode(code[:n])
	if errors.Is(err, ErrNotTile) {
		i, err = Inst{}, nil
	}
	if err != nil {
		return i, &Fault{"#UD", err.Error()}
	}
	t.decoded[at] = i
	return i, nil
}
