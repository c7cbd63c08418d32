package build

import (
	"github.com/secencoder/secencoder/data"
)

// report puts the counts of all stages together.
func (in *intake) report(kept keptBy) data.Report {
	r := data.Report{Sets: map[string]data.Kept{}, Total: data.SourceReport{Kept: map[string]data.Kept{}}}
	t := &r.Total
	for i := range in.sources {
		s := in.sources[i].SourceReport
		s.Kept = map[string]data.Kept{}
		if k := kept[i]; k != nil {
			for _, name := range data.Splits() {
				if k[name].Records == 0 {
					continue
				}
				s.Kept[name.String()] = k[name]
				sum := r.Sets[name.String()]
				sum.Add(k[name])
				r.Sets[name.String()] = sum
				t.Kept[name.String()] = sum
			}
		}
		t.Limited = t.Limited || s.Limited
		t.Files += s.Files
		t.FilesSkipped += s.FilesSkipped
		t.FilesFailed += s.FilesFailed
		for f, n := range s.Formats {
			if t.Formats == nil {
				t.Formats = map[string]int64{}
			}
			t.Formats[f] += n
		}
		t.Counts.Add(s.Counts)
		t.Duplicates += s.Duplicates
		t.Moved += s.Moved
		r.Sources = append(r.Sources, s)
	}
	r.Notes = map[string]int64{}
	r.Unused = in.unused
	r.Skipped = cutNotes(r.Notes, "skipped", in.skipped)
	r.Failed = cutNotes(r.Notes, "failed", in.failed)
	return r
}

// cutNotes bounds a list of files, and notes how many there are when it has to.
func cutNotes(counts map[string]int64, name string, notes []data.FileNote) []data.FileNote {
	if len(notes) > data.MaxNotes {
		counts[name] = int64(len(notes))
		notes = notes[:data.MaxNotes]
	}
	return notes
}
