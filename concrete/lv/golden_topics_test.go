package lv_test

import (
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// goldenTopics are the frames about topics that only modern peers send.
func goldenTopics() map[string]abstract.BaseMessage {
	request := func(id string, op abstract.TopicOp, raw string, x message.TopicExtras) *message.TopicRequest {
		m := &message.TopicRequest{Header: message.ID(id), Op: op, Topic: "orders", More: &x}
		if raw != "" {
			m.Message = message.Raw(raw)
		}
		return m
	}
	push := request("9f", abstract.TopicPublish, `{"id":7}`, message.TopicExtras{Sub: "1", Time: time.UnixMilli(1700000000000), Delivery: 3, Delivered: 2})
	push.Offset = 43
	return map[string]abstract.BaseMessage{
		"60-req-topic-create-settings": request("n1", abstract.TopicCreate, "", message.TopicExtras{
			Settings: message.Raw(`{"durable":true,"history":{"age_ms":604800000},"max_deliver":5}`)}),
		"61-req-topic-resume": request("n2", abstract.TopicSubscribe, "", message.TopicExtras{
			Sub: "1", From: message.TopicFrom{Where: message.FromOffset, Offset: 43}, Epoch: "K3ZQ4M2XW7PA"}),
		"62-rsp-topic-resumed": &message.TopicResponse{Header: message.ID("n2"), Offset: 42, Epoch: "K3ZQ4M2XW7PA", Recovered: message.Yes},
		"63-req-topic-consumer": request("n3", abstract.TopicSubscribe, "", message.TopicExtras{
			Sub: "2", From: message.TopicFrom{Where: message.FromAll}, Name: "billing", Ack: true, Window: 16, Where: map[string]string{"country": "ch"}}),
		"64-req-topic-push-delivery": push,
		"65-req-topic-publish-id": request("n4", abstract.TopicPublish, `{"id":7}`, message.TopicExtras{
			MsgID: "o-7", TTL: time.Hour, Delay: time.Minute, Report: true}),
		"66-rsp-topic-report":   &message.TopicResponse{Header: message.ID("n4"), Offset: 43, Subscribers: 2},
		"67-req-topic-ack":      request("0", abstract.TopicAck, "", message.TopicExtras{Sub: "2", Deliveries: []uint64{3, 4}}),
		"68-req-topic-nack":     request("0", abstract.TopicAck, "", message.TopicExtras{Sub: "2", Deliveries: []uint64{5}, Nack: true, Delay: 5 * time.Second}),
		"69-gap-subscription":   &message.GapNotice{Header: message.ID("g"), Topic: "orders", Sub: "1", Missed: 17},
		"70-req-topic-ended":    &message.TopicRequest{Header: message.ID("e"), Op: abstract.TopicRemove, Topic: "orders", Message: message.Raw(`{"rcode":8,"message":"topic \"orders\" was removed"}`), More: &message.TopicExtras{Sub: "1"}},
		"71-req-topic-send":     &message.TopicRequest{Header: message.ID("0"), Op: abstract.TopicSend, Topic: "orders", Message: message.Raw(`{"id":7}`)},
		"72-rsp-topic-kept":     &message.TopicResponse{Header: message.ID("n5"), Offset: 43, Epoch: "K3ZQ4M2XW7PA", Recovered: message.No, Info: message.Raw(`[{"offset":43,"time_ms":1700000000000,"topic_msg":{"id":7}}]`)},
		"73-rsp-topic-taken":    &message.TopicResponse{Header: message.ID("n4"), Offset: 43, Duplicate: true},
		"74-req-topic-since":    request("n6", abstract.TopicRead, "", message.TopicExtras{From: message.TopicFrom{Where: message.FromTime, Time: time.UnixMilli(1700000000000)}, Most: 10}),
		"75-req-topic-progress": request("0", abstract.TopicAck, "", message.TopicExtras{Sub: "2", Deliveries: []uint64{6}, Progress: true}),
	}
}
