// Package protorpc has the notions of a program that calls services which are defined in
// .proto files: Application, which reads the configuration, Channel, over which a
// generated stub calls, and Controller, which follows and cancels one call. Provider,
// for programs that serve, is in package server/protorpc.
//
//	app, err := protorpc.NewApplication(os.Args[1:])
//	channel, err := protorpc.NewChannel(app)
//	stub := user.NewUserServiceClient(channel)
//	var controller protorpc.Controller
//	response, err := stub.Login(controller.Context(ctx), &user.LoginRequest{Name: "eve", Pwd: "secret"})
//	if controller.Failed() {
//		log.Print(controller.ErrorText())
//	}
package protorpc
