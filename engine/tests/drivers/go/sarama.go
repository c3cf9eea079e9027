package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

type saramaRun struct {
	address []string
	topic   string
}

func saramaChecks(r *report, address, topic string) {
	s := &saramaRun{[]string{address}, topic}
	r.run("create-topics", s.create)
	codecs := map[string]sarama.CompressionCodec{"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD}
	for _, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		r.run("codec-"+name, func() error { return s.codec(name, codecs[name]) })
	}
	for name, acks := range map[string]sarama.RequiredAcks{"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll} {
		r.run("acks-"+name, func() error {
			c := s.config()
			c.Producer.RequiredAcks = acks
			return s.produce(s.topic, 10, c)
		})
	}
	r.run("idempotent", s.idempotent)
	for _, version := range []sarama.KafkaVersion{sarama.V2_1_0_0, sarama.V2_8_0_0, sarama.V3_6_0_0} {
		r.run("protocol-of-"+version.String(), func() error { return s.version(version) })
	}
	r.run("offsets", s.offsets)
	r.run("async-producer", s.async)
	r.run("group", s.group)
	r.run("group-admin", s.groupAdmin)
	r.run("admin", s.admin)
	r.run("delete-topics", s.remove)
}

func (s *saramaRun) config() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V3_6_0_0
	c.Producer.Return.Successes = true
	c.Producer.Partitioner = sarama.NewManualPartitioner
	c.Producer.RequiredAcks = sarama.WaitForAll
	return c
}

func (s *saramaRun) withAdmin(do func(sarama.ClusterAdmin) error) error {
	a, err := sarama.NewClusterAdmin(s.address, s.config())
	if err != nil {
		return err
	}
	defer a.Close()
	return do(a)
}

func (s *saramaRun) create() error {
	return s.withAdmin(func(a sarama.ClusterAdmin) error {
		for _, t := range []string{"", "-none", "-gzip", "-snappy", "-lz4", "-zstd", "-2.1.0", "-2.8.0", "-3.6.0"} {
			if err := a.CreateTopic(s.topic+t, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false); err != nil {
				return err
			}
		}
		err := a.CreateTopic(s.topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false)
		if !errors.Is(err, sarama.ErrTopicAlreadyExists) {
			return fmt.Errorf("created twice: %v", err)
		}
		return nil
	})
}

func (s *saramaRun) messages(topic string, count int) []*sarama.ProducerMessage {
	out := make([]*sarama.ProducerMessage, count)
	for n := range out {
		out[n] = &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(fmt.Sprintf("k%d", n)),
			Value: sarama.StringEncoder(fmt.Sprintf("v%d", n)), Timestamp: time.UnixMilli(start + int64(n)*1000),
			Headers: []sarama.RecordHeader{{Key: []byte("h"), Value: []byte("x")}}}
	}
	return out
}

func (s *saramaRun) produce(topic string, count int, c *sarama.Config) error {
	p, err := sarama.NewSyncProducer(s.address, c)
	if err != nil {
		return err
	}
	defer p.Close()
	return p.SendMessages(s.messages(topic, count))
}

func (s *saramaRun) consume(topic string, at int64, count int, c *sarama.Config) ([]*sarama.ConsumerMessage, error) {
	consumer, err := sarama.NewConsumer(s.address, c)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(topic, 0, at)
	if err != nil {
		return nil, err
	}
	defer partition.Close()
	var out []*sarama.ConsumerMessage
	limit := time.After(20 * time.Second)
	for len(out) < count {
		select {
		case m := <-partition.Messages():
			out = append(out, m)
		case <-limit:
			return out, fmt.Errorf("%d of %d records", len(out), count)
		}
	}
	return out, nil
}

func (s *saramaRun) roundTrip(topic string, c *sarama.Config) error {
	if err := s.produce(topic, 200, c); err != nil {
		return err
	}
	got, err := s.consume(topic, sarama.OffsetOldest, 200, c)
	if err != nil {
		return err
	}
	for n, m := range got {
		if m.Offset != int64(n) || string(m.Value) != fmt.Sprintf("v%d", n) || len(m.Headers) != 1 {
			return fmt.Errorf("record %d came back as %d %s", n, m.Offset, m.Value)
		}
	}
	return nil
}

func (s *saramaRun) codec(name string, codec sarama.CompressionCodec) error {
	c := s.config()
	c.Producer.Compression = codec
	return s.roundTrip(s.topic+"-"+name, c)
}

// version: an older client picks its request versions by the configured broker version.
func (s *saramaRun) version(version sarama.KafkaVersion) error {
	c := s.config()
	c.Version = version
	return s.roundTrip(s.topic+"-"+version.String(), c)
}

func (s *saramaRun) idempotent() error {
	c := s.config()
	c.Producer.Idempotent, c.Net.MaxOpenRequests = true, 1
	return s.produce(s.topic, 100, c)
}

func (s *saramaRun) async() error {
	p, err := sarama.NewAsyncProducer(s.address, s.config())
	if err != nil {
		return err
	}
	defer p.Close()
	go func() {
		for _, m := range s.messages(s.topic, 500) {
			p.Input() <- m
		}
	}()
	for n := 0; n < 500; n++ {
		select {
		case <-p.Successes():
		case e := <-p.Errors():
			return e
		case <-time.After(20 * time.Second):
			return fmt.Errorf("%d of 500 answered", n)
		}
	}
	return nil
}

func (s *saramaRun) offsets() error {
	client, err := sarama.NewClient(s.address, s.config())
	if err != nil {
		return err
	}
	defer client.Close()
	for at, want := range map[int64]int64{sarama.OffsetOldest: 0, sarama.OffsetNewest: 200, start + 50000: 50} {
		if got, err := client.GetOffset(s.topic+"-lz4", 0, at); err != nil || got != want {
			return fmt.Errorf("offset for %d is %d (%v), not %d", at, got, err, want)
		}
	}
	got, err := s.consume(s.topic+"-lz4", 77, 1, s.config())
	if err == nil && got[0].Offset != 77 {
		return fmt.Errorf("offset %d instead of 77", got[0].Offset)
	}
	return err
}

func (s *saramaRun) admin() error {
	return s.withAdmin(func(a sarama.ClusterAdmin) error {
		if err := a.CreatePartitions(s.topic, 3, nil, false); err != nil {
			return err
		}
		if err := until(func() (bool, error) {
			t, err := a.DescribeTopics([]string{s.topic})
			return err == nil && len(t[0].Partitions) == 3, err
		}); err != nil {
			return err
		}
		value := "7200000"
		if err := a.IncrementalAlterConfig(sarama.TopicResource, s.topic, map[string]sarama.IncrementalAlterConfigsEntry{
			"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}}, false); err != nil {
			return err
		}
		if err := until(func() (bool, error) {
			entries, err := a.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: s.topic, ConfigNames: []string{"retention.ms"}})
			return err == nil && len(entries) == 1 && entries[0].Value == value, err
		}); err != nil {
			return err
		}
		if err := a.DeleteRecords(s.topic+"-zstd", map[int32]int64{0: 40}); err != nil {
			return err
		}
		brokers, _, err := a.DescribeCluster()
		if err == nil && len(brokers) != 1 {
			return fmt.Errorf("%d brokers", len(brokers))
		}
		return err
	})
}

func (s *saramaRun) remove() error {
	return s.withAdmin(func(a sarama.ClusterAdmin) error {
		if err := a.DeleteTopic(s.topic); err != nil {
			return err
		}
		return until(func() (bool, error) {
			t, err := a.ListTopics()
			_, there := t[s.topic]
			return err == nil && !there, err
		})
	})
}

// groupReader takes records until it has so many, marks them and ends its session.
type groupReader struct {
	want, got int
	enough    context.CancelFunc
}

func (g *groupReader) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (g *groupReader) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (g *groupReader) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, open := <-claim.Messages():
			if !open {
				return nil
			}
			g.got++
			session.MarkMessage(m, "")
			if g.got == g.want {
				session.Commit()
				g.enough()
				return nil
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

func (s *saramaRun) groupConfig() *sarama.Config {
	c := s.config()
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Group.Session.Timeout = 6 * time.Second
	c.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	return c
}

// read consumes as a member of a group for at most that long; how many records came.
func (s *saramaRun) read(group string, want int, longest time.Duration) (int, error) {
	member, err := sarama.NewConsumerGroup(s.address, group, s.groupConfig())
	if err != nil {
		return 0, err
	}
	defer member.Close()
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	reader := &groupReader{want: want, enough: cancel}
	for ctx.Err() == nil {
		if err := member.Consume(ctx, []string{s.topic + "-gzip"}, reader); err != nil && ctx.Err() == nil {
			return reader.got, err
		}
	}
	return reader.got, nil
}

func (s *saramaRun) group() error {
	a, err := sarama.NewClient(s.address, s.config())
	if err != nil {
		return err
	}
	defer a.Close()
	end, err := a.GetOffset(s.topic+"-gzip", 0, sarama.OffsetNewest)
	if err != nil {
		return err
	}
	if got, err := s.read(s.topic+"-g", int(end), 30*time.Second); err != nil || got != int(end) {
		return fmt.Errorf("%d of %d records, %v", got, end, err)
	}
	if got, err := s.read(s.topic+"-g", 1, 6*time.Second); err != nil || got != 0 {
		return fmt.Errorf("%d committed records came again, %v", got, err)
	}
	return nil
}

func (s *saramaRun) groupAdmin() error {
	name := s.topic + "-g"
	return s.withAdmin(func(a sarama.ClusterAdmin) error {
		groups, err := a.ListConsumerGroups()
		if _, ok := groups[name]; err != nil || !ok {
			return fmt.Errorf("not listed: %v", err)
		}
		described, err := a.DescribeConsumerGroups([]string{name})
		if err != nil || described[0].State != "Empty" {
			return fmt.Errorf("%+v %v", described, err)
		}
		offsets, err := a.ListConsumerGroupOffsets(name, map[string][]int32{s.topic + "-gzip": {0}})
		if err != nil || offsets.GetBlock(s.topic+"-gzip", 0).Offset <= 0 {
			return fmt.Errorf("%+v %v", offsets, err)
		}
		if err := a.DeleteConsumerGroupOffset(name, s.topic+"-gzip", 0); err != nil {
			return err
		}
		return a.DeleteConsumerGroup(name)
	})
}
