package roster

import (
	"encoding/json"

	"trefoil/abstract"
)

// record is what stands in a registry about one provider.
type record struct {
	IP       string            `json:"ip"`
	Port     int               `json:"port"`
	Instance string            `json:"instance,omitempty"`
	Hello    int               `json:"hello,omitempty"`
	Weight   int               `json:"weight,omitempty"`
	Zone     string            `json:"zone,omitempty"`
	Version  string            `json:"version,omitempty"`
	Tags     []string          `json:"tags,omitempty"`
	Meta     map[string]string `json:"metadata,omitempty"`
	State    string            `json:"state,omitempty"`
}

// maxMethod is how many bytes a method's name may have, as at a broker.
const maxMethod = 256

// CheckMethod says what is wrong with a method's name, or nil.
func CheckMethod(name string) error {
	if name == "" || len(name) > maxMethod {
		return abstract.Errorf(abstract.InvalidParams, "a method's name has 1 to %d bytes; this one has %d", maxMethod, len(name))
	}
	return nil
}

// Check says what is wrong with a provider that somebody wants to register, or nil.
func Check(p abstract.Provider) error {
	if err := CheckMethod(p.Method); err != nil {
		return err
	}
	switch {
	case p.Host.IP == "":
		return abstract.Errorf(abstract.InvalidParams, "%s needs an IP at which callers reach it; this registry does not see from where it is asked", p.Method)
	case p.Host.Port < 1 || p.Host.Port > 65535:
		return abstract.Errorf(abstract.InvalidParams, "%s needs a port from 1 to 65535, not %d", p.Method, p.Host.Port)
	case p.Weight < 0 || p.Weight > abstract.MaxWeight:
		return abstract.Errorf(abstract.InvalidParams, "the weight of %s must be from 0 to %d, not %d", p.Method, abstract.MaxWeight, p.Weight)
	case len(p.Host.IP) > abstract.MaxTrait || len(p.Instance) > abstract.MaxTrait || len(p.Zone) > abstract.MaxTrait || len(p.Version) > abstract.MaxTrait:
		return abstract.Errorf(abstract.InvalidParams, "address, instance, zone and version of %s may have %d bytes each", p.Method, abstract.MaxTrait)
	case len(p.Tags) > abstract.MaxTags || len(p.Meta) > abstract.MaxMeta:
		return abstract.Errorf(abstract.InvalidParams, "the tags of %s may have %d bytes together, its metadata %d", p.Method, abstract.MaxTags, abstract.MaxMeta)
	}
	return nil
}

// Encode writes what a registry is to keep of a provider, as a JSON object with the
// members that a host has in a discovery's answer.
func Encode(p abstract.Provider) []byte {
	r := record{
		IP: p.Host.IP, Port: p.Host.Port, Instance: p.Instance,
		Weight: p.Weight, Zone: p.Zone, Version: p.Version, Tags: p.Tags.All(),
	}
	if p.Hello {
		r.Hello = 1
	}
	if p.Meta != "" {
		r.Meta = p.Meta.All()
	}
	if p.State != abstract.Up {
		r.State = p.State.String()
	}
	text, _ := json.Marshal(r) // strings and numbers always encode
	return text
}

// maxRecord is how many bytes of a record are looked at: more than Encode makes of what
// passes Check.
const maxRecord = 64 << 10

// Decode is the way back. What others have written is not trusted: not ok is a
// provider that cannot be called.
func Decode(method string, text []byte) (p abstract.Provider, ok bool) {
	var r record
	if len(text) > maxRecord || json.Unmarshal(text, &r) != nil || r.IP == "" || r.Port < 1 || r.Port > 65535 {
		return p, false
	}
	state, _ := abstract.ParseProviderState(r.State)
	return abstract.Provider{
		Method: method, Host: abstract.Host{IP: r.IP, Port: r.Port}, Instance: r.Instance, Hello: r.Hello == 1,
		Traits: abstract.Traits{
			Weight: min(max(r.Weight, 0), abstract.MaxWeight), Zone: r.Zone, Version: r.Version,
			Tags: abstract.NewTags(r.Tags...), Meta: abstract.NewMeta(r.Meta), State: state,
		},
	}, true
}
