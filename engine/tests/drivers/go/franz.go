package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type franzChecks struct{ address, topic string }

func franz(r *report, address, topic string) {
	f := &franzChecks{address, topic}
	r.run("create-topics", f.create)
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	for _, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		r.run("codec-"+name, func() error { return f.codec(name, codecs[name]) })
	}
	for name, acks := range map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()} {
		r.run("acks-"+name, func() error {
			_, err := f.produce(f.topic, 10, kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite())
			return err
		})
	}
	r.run("idempotent", f.idempotent)
	r.run("seek", f.seek)
	r.run("long-poll", f.longPoll)
	r.run("offsets-by-time", f.times)
	for name, balancer := range map[string]kgo.GroupBalancer{"range": kgo.RangeBalancer(), "cooperative": kgo.CooperativeStickyBalancer()} {
		r.run("group-"+name, func() error { return f.group(name, balancer) })
	}
	r.run("group-admin", f.groupAdmin)
	r.run("partitions", f.partitions)
	r.run("configs", f.configs)
	r.run("leader-epoch", f.leaderEpoch)
	r.run("delete-records", f.deleteRecords)
	r.run("unknown-topic", f.unknownTopic)
	r.run("delete-topics", f.remove)
}

func (f *franzChecks) client(options ...kgo.Opt) (*kgo.Client, context.Context, func(), error) {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(f.address)}, options...)...)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	return client, ctx, func() { cancel(); client.Close() }, nil
}

func (f *franzChecks) admin(do func(context.Context, *kadm.Client) error) error {
	client, ctx, done, err := f.client()
	if err != nil {
		return err
	}
	defer done()
	return do(ctx, kadm.NewClient(client))
}

func (f *franzChecks) create() error {
	return f.admin(func(ctx context.Context, a *kadm.Client) error {
		names := []string{f.topic}
		for _, c := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
			names = append(names, f.topic+"-"+c)
		}
		made, err := a.CreateTopics(ctx, 1, 1, nil, names...)
		if err != nil {
			return err
		}
		if err := made.Error(); err != nil {
			return err
		}
		if _, err := a.CreateTopic(ctx, 1, 1, nil, f.topic); !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("created twice: %v", err)
		}
		return nil
	})
}

func (f *franzChecks) produce(topic string, count int, options ...kgo.Opt) ([]int64, error) {
	client, ctx, done, err := f.client(append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return nil, err
	}
	defer done()
	records := make([]*kgo.Record, count)
	for n := range records {
		records[n] = &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "k%d", n), Value: fmt.Appendf(nil, "v%d", n),
			Headers:   []kgo.RecordHeader{{Key: "h", Value: []byte("x")}},
			Timestamp: time.UnixMilli(start + int64(n)*1000)}
	}
	results := client.ProduceSync(ctx, records...)
	var offsets []int64
	for _, result := range results {
		if result.Err != nil {
			return nil, result.Err
		}
		offsets = append(offsets, result.Record.Offset)
	}
	return offsets, nil
}

func (f *franzChecks) consume(topic string, at kgo.Offset, count int) ([]*kgo.Record, error) {
	client, ctx, done, err := f.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: at}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	if err != nil {
		return nil, err
	}
	defer done()
	var out []*kgo.Record
	for len(out) < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return out, err
		}
		out = append(out, fetches.Records()...)
	}
	return out, nil
}

func (f *franzChecks) codec(name string, codec kgo.CompressionCodec) error {
	topic := f.topic + "-" + name
	if _, err := f.produce(topic, 300, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(20*time.Millisecond)); err != nil {
		return err
	}
	got, err := f.consume(topic, kgo.NewOffset().AtStart(), 300)
	if err != nil {
		return err
	}
	for n, r := range got {
		if r.Offset != int64(n) || string(r.Value) != fmt.Sprintf("v%d", n) || string(r.Key) != fmt.Sprintf("k%d", n) ||
			len(r.Headers) != 1 || r.Timestamp.UnixMilli() != start+int64(n)*1000 {
			return fmt.Errorf("record %d came back as %d %s=%s", n, r.Offset, r.Key, r.Value)
		}
	}
	return nil
}

func (f *franzChecks) idempotent() error {
	offsets, err := f.produce(f.topic, 100, kgo.MaxBufferedRecords(7), kgo.ProducerLinger(0))
	for n := range offsets {
		if offsets[n] != offsets[0]+int64(n) {
			return fmt.Errorf("offsets %v", offsets)
		}
	}
	return err
}

func (f *franzChecks) seek() error {
	got, err := f.consume(f.topic+"-gzip", kgo.NewOffset().At(123), 1)
	if err == nil && got[0].Offset != 123 {
		return fmt.Errorf("offset %d instead of 123", got[0].Offset)
	}
	return err
}

// longPoll: a consumer waiting at the end gets the record as soon as it is written.
func (f *franzChecks) longPoll() error {
	failed := make(chan error, 1)
	go func() {
		time.Sleep(700 * time.Millisecond)
		_, err := f.produce(f.topic+"-none", 1)
		failed <- err
	}()
	got, err := f.consume(f.topic+"-none", kgo.NewOffset().At(300), 1)
	if sent := <-failed; sent != nil {
		return sent
	}
	if err == nil && got[0].Offset != 300 {
		return fmt.Errorf("offset %d instead of 300", got[0].Offset)
	}
	return err
}

func (f *franzChecks) times() error {
	return f.admin(func(ctx context.Context, a *kadm.Client) error {
		topic := f.topic + "-lz4"
		for ms, want := range map[int64]int64{start + 50000: 50, start + 50001: 51} {
			got, err := a.ListOffsetsAfterMilli(ctx, ms, topic)
			if o, _ := got.Lookup(topic, 0); err != nil || o.Offset != want {
				return fmt.Errorf("time %d gives %v (%v), not %d", ms, o, err, want)
			}
		}
		start, err := a.ListStartOffsets(ctx, topic)
		if o, _ := start.Lookup(topic, 0); err != nil || o.Offset != 0 {
			return fmt.Errorf("start %v %v", o, err)
		}
		end, err := a.ListEndOffsets(ctx, topic)
		if o, _ := end.Lookup(topic, 0); err != nil || o.Offset != 300 {
			return fmt.Errorf("end %v %v", o, err)
		}
		return nil
	})
}

// group: two members share what one left off, and nothing committed comes again.
func (f *franzChecks) group(name string, balancer kgo.GroupBalancer) error {
	topic, group := f.topic+"-zstd", f.topic+"-"+name
	member := func() (*kgo.Client, context.Context, func(), error) {
		return f.client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(balancer), kgo.DisableAutoCommit(),
			kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(500*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	}
	first, ctx, done, err := member()
	if err != nil {
		return err
	}
	for got := 0; got < 300; {
		fetches := first.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			done()
			return err
		}
		got += fetches.NumRecords()
	}
	err = first.CommitUncommittedOffsets(ctx)
	done()
	if err != nil {
		return err
	}
	second, ctx, done, err := member()
	if err != nil {
		return err
	}
	defer done()
	wait, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if n := second.PollFetches(wait).NumRecords(); n != 0 {
		return fmt.Errorf("%d committed records came again", n)
	}
	return nil
}

func (f *franzChecks) groupAdmin() error {
	topic, group := f.topic+"-zstd", f.topic+"-range"
	return f.admin(func(ctx context.Context, a *kadm.Client) error {
		listed, err := a.ListGroups(ctx)
		if _, ok := listed[group]; err != nil || !ok {
			return fmt.Errorf("%s is not among %v (%v)", group, listed.Groups(), err)
		}
		described, err := a.DescribeGroups(ctx, group)
		if err != nil || described[group].State != "Empty" {
			return fmt.Errorf("%+v %v", described[group], err)
		}
		offsets, err := a.FetchOffsets(ctx, group)
		if at, ok := offsets.Lookup(topic, 0); err != nil || !ok || at.At != 300 {
			return fmt.Errorf("%+v %v", at, err)
		}
		var wanted kadm.Offsets
		wanted.AddOffset(topic, 0, 17, -1)
		if _, err := a.CommitOffsets(ctx, group, wanted); err != nil {
			return err
		}
		offsets, err = a.FetchOffsets(ctx, group)
		if at, _ := offsets.Lookup(topic, 0); err != nil || at.At != 17 {
			return fmt.Errorf("%+v %v", at, err)
		}
		gone, err := a.DeleteGroups(ctx, group)
		if err != nil || gone[group].Err != nil {
			return fmt.Errorf("%+v %v", gone[group], err)
		}
		return nil
	})
}

func (f *franzChecks) partitions() error {
	return f.admin(func(ctx context.Context, a *kadm.Client) error {
		r, err := a.UpdatePartitions(ctx, 4, f.topic)
		if err == nil {
			err = r.Error()
		}
		if err != nil {
			return err
		}
		return until(func() (bool, error) {
			t, err := a.ListTopics(ctx, f.topic)
			return err == nil && len(t[f.topic].Partitions) == 4, err
		})
	})
}

func (f *franzChecks) configs() error {
	return f.admin(func(ctx context.Context, a *kadm.Client) error {
		r, err := a.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("7200000")}}, f.topic)
		if err == nil {
			_, err = r.On(f.topic, nil)
		}
		if err != nil {
			return err
		}
		return until(func() (bool, error) {
			described, err := a.DescribeTopicConfigs(ctx, f.topic)
			if err != nil {
				return false, err
			}
			for _, c := range described[0].Configs {
				if c.Key == "retention.ms" {
					return c.MaybeValue() == "7200000", nil
				}
			}
			return false, errors.New("retention.ms is not described")
		})
	})
}

// The end of the present leader epoch is the end of the log.
func (f *franzChecks) leaderEpoch() error {
	topic := f.topic + "-lz4"
	return f.admin(func(ctx context.Context, a *kadm.Client) error {
		ends, err := a.ListEndOffsets(ctx, topic)
		if err != nil {
			return err
		}
		end, _ := ends.Lookup(topic, 0)
		var request kadm.OffsetForLeaderEpochRequest
		request.Add(topic, 0, end.LeaderEpoch)
		answers, err := a.OffsetForLeaderEpoch(ctx, request)
		got := answers[topic][0]
		if err != nil || got.Err != nil || end.Offset <= 0 || got.EndOffset != end.Offset {
			return fmt.Errorf("%+v for %+v: %v", got, end, err)
		}
		return nil
	})
}

func (f *franzChecks) deleteRecords() error {
	topic := f.topic + "-snappy"
	err := f.admin(func(ctx context.Context, a *kadm.Client) error {
		var before kadm.Offsets
		before.AddOffset(topic, 0, 100, -1)
		r, err := a.DeleteRecords(ctx, before)
		if got, _ := r.Lookup(topic, 0); err != nil || got.Err != nil || got.LowWatermark != 100 {
			return fmt.Errorf("%+v %v", got, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if got, err := f.consume(topic, kgo.NewOffset().At(5), 1); err == nil {
		return fmt.Errorf("deleted offset 5 answered with %d", got[0].Offset)
	}
	return nil
}

func (f *franzChecks) unknownTopic() error {
	return f.admin(func(ctx context.Context, a *kadm.Client) error {
		t, err := a.ListTopics(ctx, f.topic+"-missing")
		if err != nil {
			return err
		}
		if d := t[f.topic+"-missing"]; !errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("%v", d.Err)
		}
		return nil
	})
}

func (f *franzChecks) remove() error {
	return f.admin(func(ctx context.Context, a *kadm.Client) error {
		if _, err := a.DeleteTopic(ctx, f.topic); err != nil {
			return err
		}
		return until(func() (bool, error) {
			t, err := a.ListTopics(ctx)
			return err == nil && !t.Has(f.topic), err
		})
	})
}
