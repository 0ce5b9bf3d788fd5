package protostub

import (
	"fmt"

	"trefoil/abstract"
)

// Service is a service with what serves its methods.
type Service struct {
	Name    string // as the callers of its methods see it, without the last dot
	Methods []abstract.Method
}

// Register serves all methods of a service. On an error those before the one that it
// names are served.
func Register(srv abstract.MethodServer, s Service) error {
	for _, m := range s.Methods {
		if err := srv.ServeMethod(m); err != nil {
			return fmt.Errorf("serve %s: %w", m.Name, err)
		}
	}
	return nil
}

// Unimplemented is the error of a method that a service does not have.
func Unimplemented(method string) error {
	return abstract.Errorf(abstract.ServiceNotFound, "method %.64q is not implemented here", method)
}
