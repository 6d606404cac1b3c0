// SPDX-License-Identifier: GPL-2.0-only
/*
 * canline: a queueing discipline that makes a virtual CAN interface as slow as a real line, frame by frame.
 *
 * Decides how long each frame is on the line (classic and CAN FD, stuff bits counted one by one), which of the waiting
 * frames comes next, and when it is handed to the driver. bench/bus/frame_bits.py has the same arithmetic and is the reference.
 *
 * Rules:
 *
 * - One frame is on the line. It is delivered when it and the intermission after it are over; then the next one starts.
 * - Each sender (socket) is a FIFO. When the line gets free, the head with the most dominant arbitration field wins.
 * - Timers and processes are late, and a line that is behind catches up: a frame that comes within PAUSE_NS of a delivery
 *   starts when the line got free, but no more than DEBT_NS ago. After a longer pause a frame starts when it comes, as idle
 *   time is not saved up.
 * - What is no CAN frame, and an error message of the kernel, takes no time.
 * - Beyond `limit` frames, a sender sees ENOBUFS.
 *
 * Error frames, overload frames, retransmissions and CAN XL are not imitated.
 */
#include <linux/can.h>
#include <linux/can/core.h>
#include <linux/if_ether.h>
#include <linux/list.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <net/netlink.h>
#include <net/pkt_sched.h>

#define CRC15_POLYNOMIAL 0x4599
#define CLASSIC_TRAILER_BITS (1 + 1 + 1 + 7 + 3) /* CRC delimiter, ACK, ACK delimiter, EOF, intermission */
#define FD_TRAILER_BITS (1 + 1 + 7 + 3)		 /* its CRC delimiter is in the data phase */
#define FD_CRC17_BITS (4 + 17 + 6 + 1)		 /* stuff count, CRC, fixed stuff bits, CRC delimiter */
#define FD_CRC21_BITS (4 + 21 + 7 + 1)
#define DEBT_NS (3 * NSEC_PER_MSEC)
#define PAUSE_NS (10 * NSEC_PER_MSEC)
#define DEFAULT_LIMIT 1000

enum { /* the attributes in TCA_OPTIONS; all u32 */
	TCA_CANLINE_UNSPEC,
	TCA_CANLINE_BITRATE,
	TCA_CANLINE_DATA_BITRATE, /* of a frame with bit-rate switch; the nominal one when it is not given */
	TCA_CANLINE_LIMIT,	  /* frames that wait, with the one on the line */
	__TCA_CANLINE_MAX
};
#define TCA_CANLINE_MAX (__TCA_CANLINE_MAX - 1)

struct canline_xstats { /* in TCA_XSTATS: of the delivered frames */
	__u64 frames;
	__u64 nominal_bits;
	__u64 data_bits;
	__u64 busy_ns;
	__u64 lost_ns; /* the line stood still though a frame waited: the machine was late by more than DEBT_NS */
};

struct canline_sender {
	struct list_head node;
	const struct sock *sk; /* compared only; the frames hold it. NULL: frames that the kernel routes */
	struct sk_buff_head frames;
};

struct canline_length {
	u32 nominal_bits;
	u32 data_bits;
	u64 ns;
};

struct canline {
	u32 bitrate;
	u32 data_bitrate;
	u32 limit;
	struct list_head senders; /* only those with waiting frames */
	struct sk_buff *on_line;
	struct canline_length length; /* of on_line */
	u64 free_ns;		      /* when the line is free again, or when it became free */
	u64 delivered_ns;	      /* when the last frame was really handed over */
	struct canline_xstats stats;
	struct qdisc_watchdog watchdog;
};

struct canline_cb {
	u64 arrived_ns;
};

static struct canline_cb *canline_cb(struct sk_buff *skb)
{
	qdisc_cb_private_validate(skb, sizeof(struct canline_cb));
	return (struct canline_cb *)qdisc_skb_cb(skb)->data;
}

/* A frame as it is written on the line, bit by bit. */
struct canline_writer {
	u32 bits; /* with stuff bits */
	u32 crc;
	u32 last;
	u32 run;
};

static void canline_write(struct canline_writer *line, u32 value, int width)
{
	while (width--) {
		u32 bit = value >> width & 1;

		line->crc = (line->crc << 1 ^ ((line->crc >> 14 ^ bit) & 1 ? CRC15_POLYNOMIAL : 0)) & 0x7fff;
		line->run = bit == line->last ? line->run + 1 : 1;
		line->last = bit;
		line->bits++;
		if (line->run == 5) {
			line->bits++;
			line->last = !bit;
			line->run = 1;
		}
	}
}

/* The start of frame, the identifier and, of an extended frame, SRR and IDE. What follows differs with the format. */
static void canline_write_id(struct canline_writer *line, canid_t id)
{
	*line = (struct canline_writer){ .last = 1 };
	canline_write(line, 0, 1);
	if (id & CAN_EFF_FLAG) {
		canline_write(line, (id & CAN_EFF_MASK) >> 18 << 2 | 3, 13);
		canline_write(line, id & 0x3ffff, 18);
	} else {
		canline_write(line, id & CAN_SFF_MASK, 11);
	}
}

static void canline_classic(const struct can_frame *frame, struct canline_length *length)
{
	bool remote = frame->can_id & CAN_RTR_FLAG;
	u32 size = min_t(u32, frame->len, CAN_MAX_DLEN);
	struct canline_writer line;
	u32 i;

	canline_write_id(&line, frame->can_id);
	canline_write(&line, remote << 2, 3); /* RTR and two dominant bits: IDE and r0, or r1 and r0 */
	canline_write(&line, size, 4);
	for (i = 0; i < size && !remote; i++)
		canline_write(&line, frame->data[i], 8);
	canline_write(&line, line.crc, 15);
	length->nominal_bits = line.bits + CLASSIC_TRAILER_BITS;
}

static void canline_fd(const struct canfd_frame *frame, struct canline_length *length)
{
	static const u8 sizes[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64 };
	bool brs = frame->flags & CANFD_BRS;
	bool esi = frame->flags & CANFD_ESI;
	struct canline_writer line;
	u32 dlc = 0, i;

	while (dlc < ARRAY_SIZE(sizes) - 1 && sizes[dlc] < frame->len)
		dlc++;
	canline_write_id(&line, frame->can_id);
	if (frame->can_id & CAN_EFF_FLAG)
		canline_write(&line, 4 | brs, 4); /* RRS, FDF, res, BRS */
	else
		canline_write(&line, 4 | brs, 5); /* RRS, IDE, FDF, res, BRS */
	length->nominal_bits = line.bits + FD_TRAILER_BITS;

	/* After the last of these bits there is no dynamic stuff bit: the first fixed one stands there. */
	line.bits = 1;
	if (sizes[dlc]) {
		canline_write(&line, esi << 4 | dlc, 5);
		for (i = 0; i < sizes[dlc] - 1; i++)
			canline_write(&line, frame->data[i], 8);
		canline_write(&line, frame->data[i] >> 1, 7);
	} else {
		canline_write(&line, esi << 3, 4);
	}
	length->data_bits = line.bits + (sizes[dlc] <= 16 ? FD_CRC17_BITS : FD_CRC21_BITS);
	if (!brs) {
		length->nominal_bits += length->data_bits;
		length->data_bits = 0;
	}
}

static bool canline_is_classic(const struct sk_buff *skb)
{
	return skb->protocol == htons(ETH_P_CAN) && skb->len == CAN_MTU && !skb_is_nonlinear(skb);
}

static bool canline_is_fd(const struct sk_buff *skb)
{
	return skb->protocol == htons(ETH_P_CANFD) && skb->len == CANFD_MTU && !skb_is_nonlinear(skb);
}

static canid_t canline_id(const struct sk_buff *skb) /* an error message where it is no frame */
{
	if (!canline_is_classic(skb) && !canline_is_fd(skb))
		return CAN_ERR_FLAG;
	return ((const struct can_frame *)skb->data)->can_id;
}

static struct canline_length canline_measure(const struct canline *q, const struct sk_buff *skb)
{
	struct canline_length length = {};

	if (canline_id(skb) & CAN_ERR_FLAG)
		return length;
	if (canline_is_classic(skb))
		canline_classic((const struct can_frame *)skb->data, &length);
	else
		canline_fd((const struct canfd_frame *)skb->data, &length);
	length.ns = DIV_ROUND_CLOSEST_ULL((u64)length.nominal_bits * NSEC_PER_SEC, q->bitrate) +
		    DIV_ROUND_CLOSEST_ULL((u64)length.data_bits * NSEC_PER_SEC, q->data_bitrate);
	return length;
}

/* The arbitration field as a number: the lowest wins. Of equal ones the sender that began to wait first wins. */
static u32 canline_priority(const struct sk_buff *skb)
{
	canid_t id = canline_id(skb);
	u32 remote = canline_is_classic(skb) && id & CAN_RTR_FLAG;

	if (id & CAN_ERR_FLAG)
		return 0;
	if (id & CAN_EFF_FLAG)
		return (id & CAN_EFF_MASK) >> 18 << 21 | 3 << 19 | (id & 0x3ffff) << 1 | remote;
	return (id & CAN_SFF_MASK) << 21 | remote << 20;
}

static struct sk_buff *canline_arbitrate(struct canline *q)
{
	struct canline_sender *sender, *winner = NULL;
	u32 priority, best = U32_MAX;
	struct sk_buff *skb;

	list_for_each_entry(sender, &q->senders, node) {
		priority = canline_priority(skb_peek(&sender->frames));
		if (!winner || priority < best) {
			winner = sender;
			best = priority;
		}
	}
	if (!winner)
		return NULL;
	skb = __skb_dequeue(&winner->frames);
	if (skb_queue_empty(&winner->frames)) {
		list_del(&winner->node);
		kfree(winner);
	}
	return skb;
}

static bool canline_start(struct canline *q, u64 now)
{
	struct sk_buff *skb = canline_arbitrate(q);
	u64 start = q->free_ns, ready, arrived;

	if (!skb)
		return false;
	arrived = canline_cb(skb)->arrived_ns;
	ready = max(q->free_ns, arrived);
	if (arrived > q->delivered_ns + PAUSE_NS)
		start = ready;
	if (now > ready + DEBT_NS)
		q->stats.lost_ns += now - DEBT_NS - ready;
	start = max(start, now - DEBT_NS);
	q->on_line = skb;
	q->length = canline_measure(q, skb);
	q->free_ns = start + q->length.ns;
	return true;
}

static struct sk_buff *canline_dequeue(struct Qdisc *sch)
{
	struct canline *q = qdisc_priv(sch);
	u64 now = ktime_get_ns();
	struct sk_buff *skb;

	if (!q->on_line && !canline_start(q, now))
		return NULL;
	if (now < q->free_ns) {
		qdisc_watchdog_schedule_ns(&q->watchdog, q->free_ns);
		return NULL;
	}
	skb = q->on_line;
	q->on_line = NULL;
	q->delivered_ns = now;
	if (q->length.ns) {
		q->stats.frames++;
		q->stats.nominal_bits += q->length.nominal_bits;
		q->stats.data_bits += q->length.data_bits;
		q->stats.busy_ns += q->length.ns;
	}
	qdisc_qstats_backlog_dec(sch, skb);
	sch->q.qlen--;
	qdisc_bstats_update(sch, skb);
	return skb;
}

static struct canline_sender *canline_sender(struct canline *q, const struct sock *sk)
{
	struct canline_sender *sender;

	list_for_each_entry(sender, &q->senders, node)
		if (sender->sk == sk)
			return sender;
	sender = kmalloc(sizeof(*sender), GFP_ATOMIC);
	if (!sender)
		return NULL;
	sender->sk = sk;
	__skb_queue_head_init(&sender->frames);
	list_add_tail(&sender->node, &q->senders);
	return sender;
}

static int canline_enqueue(struct sk_buff *skb, struct Qdisc *sch, struct sk_buff **to_free)
{
	struct canline *q = qdisc_priv(sch);
	struct canline_sender *sender;

	if (sch->q.qlen >= q->limit)
		return qdisc_drop(skb, sch, to_free);
	sender = canline_sender(q, skb->sk);
	if (!sender)
		return qdisc_drop(skb, sch, to_free);
	canline_cb(skb)->arrived_ns = ktime_get_ns();
	__skb_queue_tail(&sender->frames, skb);
	qdisc_qstats_backlog_inc(sch, skb);
	sch->q.qlen++;
	return NET_XMIT_SUCCESS;
}

static void canline_reset(struct Qdisc *sch)
{
	struct canline *q = qdisc_priv(sch);
	struct canline_sender *sender, *next;

	qdisc_watchdog_cancel(&q->watchdog);
	list_for_each_entry_safe(sender, next, &q->senders, node) {
		__skb_queue_purge(&sender->frames);
		kfree(sender);
	}
	INIT_LIST_HEAD(&q->senders);
	kfree_skb(q->on_line);
	q->on_line = NULL;
	sch->q.qlen = 0;
	sch->qstats.backlog = 0;
}

static const struct nla_policy canline_policy[TCA_CANLINE_MAX + 1] = {
	[TCA_CANLINE_BITRATE] = NLA_POLICY_MIN(NLA_U32, 1),
	[TCA_CANLINE_DATA_BITRATE] = NLA_POLICY_MIN(NLA_U32, 1),
	[TCA_CANLINE_LIMIT] = NLA_POLICY_MIN(NLA_U32, 1),
};

static int canline_change(struct Qdisc *sch, struct nlattr *opt, struct netlink_ext_ack *extack)
{
	struct canline *q = qdisc_priv(sch);
	struct nlattr *tb[TCA_CANLINE_MAX + 1] = {};
	int err;

	if (opt) {
		err = nla_parse_nested(tb, TCA_CANLINE_MAX, opt, canline_policy, extack);
		if (err)
			return err;
	}
	if (!tb[TCA_CANLINE_BITRATE]) {
		NL_SET_ERR_MSG_MOD(extack, "the bit rate is missing");
		return -EINVAL;
	}
	sch_tree_lock(sch);
	q->bitrate = nla_get_u32(tb[TCA_CANLINE_BITRATE]);
	q->data_bitrate = tb[TCA_CANLINE_DATA_BITRATE] ? nla_get_u32(tb[TCA_CANLINE_DATA_BITRATE]) : q->bitrate;
	q->limit = tb[TCA_CANLINE_LIMIT] ? nla_get_u32(tb[TCA_CANLINE_LIMIT]) : DEFAULT_LIMIT;
	sch_tree_unlock(sch);
	return 0;
}

static int canline_init(struct Qdisc *sch, struct nlattr *opt, struct netlink_ext_ack *extack)
{
	struct canline *q = qdisc_priv(sch);

	qdisc_watchdog_init(&q->watchdog, sch);
	INIT_LIST_HEAD(&q->senders);
	return canline_change(sch, opt, extack);
}

static int canline_dump(struct Qdisc *sch, struct sk_buff *skb)
{
	struct canline *q = qdisc_priv(sch);
	struct nlattr *nest = nla_nest_start_noflag(skb, TCA_OPTIONS);

	if (!nest)
		return -EMSGSIZE;
	if (nla_put_u32(skb, TCA_CANLINE_BITRATE, q->bitrate) ||
	    nla_put_u32(skb, TCA_CANLINE_DATA_BITRATE, q->data_bitrate) ||
	    nla_put_u32(skb, TCA_CANLINE_LIMIT, q->limit)) {
		nla_nest_cancel(skb, nest);
		return -EMSGSIZE;
	}
	return nla_nest_end(skb, nest);
}

static int canline_dump_stats(struct Qdisc *sch, struct gnet_dump *dump)
{
	struct canline *q = qdisc_priv(sch);
	struct canline_xstats stats;

	sch_tree_lock(sch);
	stats = q->stats;
	sch_tree_unlock(sch);
	return gnet_stats_copy_app(dump, &stats, sizeof(stats));
}

static struct Qdisc_ops canline_ops __read_mostly = {
	.id = "canline",
	.priv_size = sizeof(struct canline),
	.enqueue = canline_enqueue,
	.dequeue = canline_dequeue,
	.peek = qdisc_peek_dequeued,
	.init = canline_init,
	.reset = canline_reset,
	.destroy = canline_reset,
	.change = canline_change,
	.dump = canline_dump,
	.dump_stats = canline_dump_stats,
	.owner = THIS_MODULE,
};

static int __init canline_module_init(void)
{
	return register_qdisc(&canline_ops);
}

static void __exit canline_module_exit(void)
{
	unregister_qdisc(&canline_ops);
}

module_init(canline_module_init);
module_exit(canline_module_exit);
#ifdef MODULE_ALIAS_NET_SCH
MODULE_ALIAS_NET_SCH("canline");
#endif
MODULE_VERSION("1"); /* makes /sys/module/sch_canline also where it is built in */
MODULE_DESCRIPTION("Makes a virtual CAN interface as slow as a real line");
MODULE_LICENSE("GPL");
