package train_test

import (
	"context"
	"fmt"
	"os"

	"github.com/secencoder/secencoder/train"
)

// Training on a data folder; a second call with Resume goes on where the first one was stopped.
func ExampleRun() {
	result, err := train.Run(context.Background(), train.Options{
		Out:      "out/run",
		Settings: train.Settings{Data: new("out/data"), Size: new("mini"), Steps: new(2000)},
		Reporter: &train.TextReporter{W: os.Stderr},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Best)
}
