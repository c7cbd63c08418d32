package standin

import (
	"bytes"
	"debug/elf"
	"fmt"
	"strings"
)

// dynamicSymbols returns the exported functions of the file that are the driver's: cu and a capital letter.
func dynamicSymbols(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := f.DynamicSymbols()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range all {
		rest, ok := strings.CutPrefix(s.Name, "cu")
		if ok && s.Section != elf.SHN_UNDEF && rest != "" && rest[0] >= 'A' && rest[0] <= 'Z' {
			names = append(names, s.Name)
		}
	}
	return names, nil
}

// hideSymbol changes the first letter of an exported name in the image, so that a search for it finds nothing.
func hideSymbol(image []byte, symbol string) error {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return err
	}
	section := f.Section(".dynstr")
	if section == nil {
		return fmt.Errorf("the library has no dynamic names")
	}
	table := image[section.Offset : section.Offset+section.Size]
	at := bytes.Index(table, []byte("\x00"+symbol+"\x00"))
	if at < 0 {
		return fmt.Errorf("the library has no function %s", symbol)
	}
	table[at+1] = 'x'
	return nil
}
