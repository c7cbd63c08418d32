package exec

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Print writes the plan: each step in order with the layer, the bytes it writes and where, the workspace, and the bytes
// that live during it; then the sums. The same graph, options and kernels give the same text.
func (p *Program) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "step\tlayer\tcall\twrites\tat\tworkspace\tlive")
	var again int
	for i, s := range p.steps {
		layer := "-"
		if s.unit.layer >= 0 {
			layer = fmt.Sprint(s.unit.layer)
		}
		var bytes int
		var at []string
		for _, o := range s.out {
			switch o.kind {
			case atBlock:
				bytes += o.block.bytes
				at = append(at, fmt.Sprint(o.block.root().offset))
			case atGrad:
				at = append(at, "d "+p.graph.LeafOf(o.node).Name)
			}
		}
		work := 0
		if s.work != nil {
			work = s.work.bytes
		}
		if s.again {
			again++
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%d\t%s\t%d\t%d\n", i, layer, s.name(), bytes, strings.Join(at, " "), work, p.live(i))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	packs := ""
	if p.packs != nil {
		packs = fmt.Sprintf("; %d bytes of packed weights beside them", p.PackBytes())
	}
	_, err := fmt.Fprintf(w, "%d steps, %d of them for the second time (recomputation %v); %d bytes planned, %d live at most%s\n",
		len(p.steps), again, p.policy, p.bytes, p.peak(), packs)
	return err
}

func (p *Program) live(at int) int {
	n := 0
	for _, b := range p.blocks {
		if b.from <= at && at <= b.to {
			n += ceil(b.bytes)
		}
	}
	return n
}

// peak is the lower bound of any plan: the most bytes that live at once.
func (p *Program) peak() int {
	most := 0
	for i := range p.steps {
		most = max(most, p.live(i))
	}
	return most
}
