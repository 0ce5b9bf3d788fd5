package etcdlog

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/zap"
)

func TestErrorsStayButThoseOfAnOrderlyEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"a closed listener": {&net.OpError{Op: "accept", Err: net.ErrClosed}, ""},
		"a closed server":   {http.ErrServerClosed, ""},
		"a closed mux":      {errors.New("mux: server closed"), ""},
		"a full disk":       {errors.New("no space left"), "level=ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			Quietly(slog.New(slog.NewTextHandler(&text, nil))).Error("serving failed", zap.Error(tc.err))
			if tc.want == "" {
				assert.Empty(t, text.String())
			} else {
				assert.Contains(t, text.String(), tc.want)
			}
		})
	}
}
