// Package server runs Trefoil's servers: RpcServer serves methods,
// RegistryServer tells who provides a method and pushes who comes and goes,
// TopicServer carries messages from publishers to subscribers, and Broker is all
// three on one port.
//
// Modern peers open with HELLO and get pings, limits and a goodbye; peers that do
// not are existing programs of the LV family and are served as they expect.
//
// RPC handlers of one connection run side by side, up to a limit; topic and
// service messages of one connection are handled in arrival order.
package server
