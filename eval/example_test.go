package eval_test

import (
	"context"
	"fmt"
	"os"

	"github.com/secencoder/secencoder/eval"
)

// Two runs side by side, as a table.
func ExampleIntrinsic() {
	report, err := eval.Intrinsic(context.Background(), eval.Options{
		Models: []string{"out/run-content", "out/run-all"},
		Data:   "out/data",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := report.Table(os.Stdout); err != nil {
		fmt.Println(err)
	}
}
