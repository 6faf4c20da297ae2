package dht

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// jobID names a part of Run's work that comes again and again.
type jobID uint8

const (
	jobBootstrap jobID = iota
	jobRestore
	jobSelfLookup
	jobRefresh
	jobCheck
	jobRevalidate
	jobRecords
	jobReach
	numJobs
)

const (
	jobRests       = time.Hour // for one that only comes when it is wanted
	panicBackoff   = time.Second
	panicBackoffTo = time.Minute
)

// jobs is how others have a job done before its time.
type jobs struct {
	wanted [numJobs]atomic.Bool
	stir   chan struct{} // capacity 1: look at wanted
}

// want has a job done now, or once more if it is being done. It does not wait.
func (n *Node) want(id jobID) {
	n.jobs.wanted[id].Store(true)
	select {
	case n.jobs.stir <- struct{}{}:
	default: // somebody has said so
	}
}

// job has a goroutine while it is done, and none while it rests: a process may
// hold thousands of nodes. Owned by runJobs; again and backoff by doJob.
type job struct {
	name string
	// run does the work once and says when to come again. woken says that
	// somebody wanted it; else its time had come.
	run     func(ctx context.Context, woken bool) time.Duration
	due     time.Time // zero: at once
	again   time.Duration
	busy    bool
	backoff time.Duration
}

func (n *Node) jobList() []job {
	now := time.Now()
	return []job{
		jobBootstrap:  {name: "bootstrap", run: n.bootstrapJob()},
		jobRestore:    {name: "restore", run: n.restorePass, due: now.Add(jobRests)},
		jobSelfLookup: {name: "self-lookup", run: n.selfLookupPass, due: now.Add(jitter(firstSelfLookup))},
		jobRefresh:    {name: "refresh", run: n.refreshPass, due: now.Add(jitter(refreshEvery))},
		jobCheck:      {name: "check", run: n.checkJob(), due: now.Add(jitter(checkEvery))},
		jobRevalidate: {name: "revalidate", run: n.revalidatePass, due: now.Add(jobRests)},
		jobRecords:    {name: "records", run: n.publishJob()},
		jobReach:      {name: "reach", run: n.reachJob, due: now.Add(jitter(reachEvery))},
	}
}

// runJobs does every job of list, by jobID, when it is due or wanted, each once
// at a time, until ctx ends, and returns when the last has ended.
func (n *Node) runJobs(ctx context.Context, list []job) {
	done := make(chan jobID, numJobs)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		now, next := time.Now(), jobRests
		for i := range jobID(len(list)) { //nolint:gosec // numJobs
			j := &list[i]
			if j.busy {
				continue
			}
			woken := n.jobs.wanted[i].Swap(false)
			if wait := j.due.Sub(now); !woken && wait > 0 {
				next = min(next, wait)
				continue
			}
			j.busy = true
			wg.Go(func() {
				n.doJob(ctx, j, woken)
				done <- i // capacity numJobs, one per job: never waits
			})
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-n.jobs.stir:
		case i := <-done:
			list[i].busy, list[i].due = false, time.Now().Add(list[i].again)
		}
	}
}

// doJob does j once. After a panic it rests, ever longer.
func (n *Node) doJob(ctx context.Context, j *job, woken bool) {
	ok := false
	n.contain(j.name, func() {
		j.again = j.run(ctx, woken)
		ok = true
	})
	if ok {
		j.backoff = 0
		return
	}
	j.again = 0
	j.backoff = min(max(2*j.backoff, panicBackoff), panicBackoffTo)
	sleep(ctx, jitter(j.backoff))
}
