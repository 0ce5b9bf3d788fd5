package main

import "trefoil/client"

// relayFlags are those about calls through the broker.
func relayFlags(s *settings) []flagRow {
	return []flagRow{
		{commands: "call", name: "relay", to: &s.relayed, def: false, help: "call through the broker, over the provider's own connection to it; without this flag only when no provider can be connected to"},
	}
}

// relayOptions is what the flags say of the way of one call.
func relayOptions(s *settings) []client.CallOption {
	if s.relayed {
		return []client.CallOption{client.Relay()}
	}
	return nil
}
