//go:build ignore

// What several processes share on one stand-in, as they would share one GPU: how much memory each has taken and
// whether it has a context. It is a file beside the library, mapped by each; a process that dies gives back what it had.
#define _GNU_SOURCE
#include "state.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS 60
static struct slot {
	int pid, contexts[MAX_DEVICES];
	long long used[MAX_DEVICES];
} *slots, *mine;
static int file = -1;

const char *library_folder(void) {
	static char folder[4096];
	if (!folder[0]) {
		Dl_info info;
		if (!dladdr((void *)library_folder, &info) || !info.dli_fname)
			abort();
		snprintf(folder, sizeof folder, "%s", info.dli_fname);
		char *slash = strrchr(folder, '/');
		snprintf(slash ? slash : folder, 2, "%s", slash ? "" : ".");
	}
	return folder;
}

static void open_file(void) {
	if (slots)
		return;
	char name[4200];
	snprintf(name, sizeof name, "%s/processes", library_folder());
	file = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (file >= 0 && ftruncate(file, sizeof *slots * SLOTS) == 0) {
		slots = mmap(NULL, sizeof *slots * SLOTS, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		if (slots == MAP_FAILED)
			slots = NULL;
	}
	if (!slots) // a folder that cannot be written: this process alone
		slots = calloc(SLOTS, sizeof *slots);
	flock(file, LOCK_EX);
	for (int i = 0; i < SLOTS && !mine; i++)
		if (slots[i].pid == 0 || (kill(slots[i].pid, 0) < 0 && errno == ESRCH) || slots[i].pid == getpid()) {
			mine = &slots[i];
			memset(mine, 0, sizeof *mine);
			mine->pid = getpid();
		}
	flock(file, LOCK_UN);
	if (!mine)
		abort(); // sixty processes on one stand-in: no test does that
}

static int living(struct slot *s) {
	return s->pid != 0 && (s == mine || kill(s->pid, 0) == 0 || errno != ESRCH);
}

void shared_account(int device, long long bytes) {
	open_file();
	mine->used[device] += bytes;
}

long long shared_used(int device) {
	open_file();
	long long sum = 0;
	for (int i = 0; i < SLOTS; i++)
		if (living(&slots[i]))
			sum += slots[i].used[device];
	return sum;
}

void shared_context(int device, int there) {
	open_file();
	mine->contexts[device] = there;
}

int shared_others(int device) {
	open_file();
	int n = 0;
	for (int i = 0; i < SLOTS; i++)
		n += &slots[i] != mine && living(&slots[i]) && slots[i].contexts[device];
	return n;
}
