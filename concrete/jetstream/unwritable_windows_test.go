package jetstream

import "errors"

func withSmallFiles() error { return errors.New("this system has no limit for it") }
