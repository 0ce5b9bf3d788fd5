package main

// onResize does nothing: the console tells nobody.
func onResize(func()) (stop func()) { return func() {} }
