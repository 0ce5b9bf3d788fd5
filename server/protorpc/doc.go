// Package protorpc has Provider, which serves services that are defined in .proto files,
// and registers them where its Application says. The other notions are in package
// client/protorpc.
//
//	app, err := protorpc.NewApplication(os.Args[1:]) // of package client/protorpc
//	provider, err := protorpc.NewProvider(app)
//	err = provider.NotifyService(user.UserServiceDesc(&users{}))
//	err = provider.Run(ctx)
package protorpc
