package zookeeper

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
)

func TestMethodsStandWhereTheSourceSystemsProgramsLook(t *testing.T) {
	r := &Registry{}
	p := abstract.Provider{Method: "UserServiceRpc.Login", Host: abstract.Host{IP: "10.0.0.7", Port: 7800}}
	assert.Equal(t, "/UserServiceRpc", r.servicePath(p.Method))
	assert.Equal(t, "/UserServiceRpc/Login", r.placePath(p.Method))
	assert.Equal(t, "/UserServiceRpc/Login@10.0.0.7:7800", r.providerPath(p))
	assert.Equal(t, "/UserServiceRpc/Login", placeOf(r.providerPath(p)))
	r.cfg.Root = "/root"
	assert.Equal(t, "/root/_/echo", r.placePath("echo"))
	assert.Equal(t, "/root/com.example.Users/Get", r.placePath("com.example.Users.Get"))
}

// Different methods stand at different places, in names that ZooKeeper takes.
func TestPathsAreDifferentAndAllowed(t *testing.T) {
	r := &Registry{}
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.OneOf(rapid.StringN(1, 20, 256), rapid.StringMatching(`[_.@/%a5F]{1,6}`))
		a, b := names.Draw(t, "a"), names.Draw(t, "b")
		if a != b {
			require.NotEqual(t, r.placePath(a), r.placePath(b))
		}
		p := r.providerPath(abstract.Provider{Method: a, Host: abstract.Host{IP: "::1", Port: 1}})
		require.Equal(t, r.placePath(a), placeOf(p))
		parts := strings.Split(strings.TrimPrefix(p, "/"), "/")
		require.Len(t, parts, 2)
		for _, part := range parts {
			require.NotContains(t, []string{"", ".", ".."}, part)
			require.Equal(t, -1, strings.IndexFunc(part, func(c rune) bool { return c <= ' ' || c >= 0x7f }), part)
		}
	})
}
