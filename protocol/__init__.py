"""How two gateways stay in agreement when one of them crashes.

The contents page. A module imports only modules above it, so the package reads from top to bottom:

    errors              refusals, and the documents' error codes as data
    rules               the safety rules that can be switched off, and what the drafts do in their place
    trace               typed events of a run
    objects             canonical bytes, digests, versions, histories
    signing             keys and signatures
    messages/meanings   what every field of every message means, in the documents' words
    messages/offchain   LIP-1: what travels between two VASPs
    messages/payments   LIP-1: what one version of a payment may change of the one before
    channel_store       what one side of a channel keeps, in memory or in SQLite
    parties             who is at the two ends: addresses, roles, keys
    resync              what one side shows the other, and what the other makes of it
    commands            the rules by which two parties' commands are sequenced
    outbox              what still has to be answered, and when it is sent again
    channel_recovery    the way back after a loss
    channel             one side of a channel: the command engine
    channel_world       two VASPs, a lossy link between them, a clock, crashes and lost databases
    certificates        a root, owner CAs, and what their gateways' certificates say: owner, key, backups
    peers               which certificate of a peer counts: successors, revocation, backups that take over
    tls                 TLS 1.3 between gateways, full and resumed, over buffers in memory
    messages/satp       SATP: the messages of stages 1 to 3, errors, abort
    messages/recovery   what travels after a crash: Transfer-Resume to ROLLBACK-ACK
    steps               TABLE 1: every step of a transfer
    recovery            TABLE 2: what a session does after a crash
    log                 log entries, their chain, the Log Storage API
    lease               who may write a shared log: lease, epoch, fence, heartbeat
    notations           the two notations of log entries in the draft, read as one
    stores              durable stores behind the same API: what a database has to do, and SQLite
    postgres            a log in PostgreSQL, which several machines share
    lines               a log as a file of lines
    log_api             the Log Storage API as requests and responses
    notary              the storage modes, and the notary that holds hashes only
    ledger              an asset network: acts once, and answers whether it has acted
    session             one transfer as a gateway's log tells it
    negotiation         stage 1: what a recipient accepts in a proposal
    journal             log, act, log: the one way to the disk and to the ledger
    successions         who acts for a gateway: its first key, a new one, or a backup that took over
    facts               the three facts of TABLE 2: log, ledger, peer
    drafts              what the drafts do instead, where it is switched on
    rollback            the way back before the burn: undoing, aborts, ROLLBACK
    forward             the way on: every row of TABLE 1 that is ours
    salvage             what the ledgers alone allow, when both logs are lost
    exchange            RECOVER to RECOVER-SUCCESS, and disputes: two copies of one session made equal
    admission           who may say what in a recovery: keys, sessions and positions, verified before all else
    offers              Transfer-Resume and Transfer-Continue: what is told of all sessions at once, and answered
    reconcile           a gateway comes back: what follows for each session
    gateway             the corridor: a message arrives; a gateway comes back
    example             the transfer that every notebook moves: the draft's own
    faults              where a gateway can be made to crash, or to pause
    losses              what a crash may take from a disk: a tail, the log, all since an old copy
    link                the connections between gateways: messages, and the TLS that carries them
    processes           the gateways' processes: made, at work, standing still, ended
    network             World: two gateways, two networks, the link between, a clock
    replacement         a World in which a backup gateway can take the place of another
    views               a transfer to be looked at: messages, log entries and ledgers, step by step
    sequences           a trace as the rows of a sequence diagram
    diagrams            a trace as SVG, Mermaid text and ASCII figure
    histories           copies of one history as boxes: what both have, what one lacks, a fork
    evidence            what a takeover needs and leaves behind: certificates, lease, log, succession
    stories             a crash and its recovery in one line, and TABLE 2 as a table
    takeovers           a takeover in one line, and which rule carries how much
    automata            what an exploration asks of each of two sides: a state, an event, what comes of it
    plans               what an exploration is given, and how it names what happened
    memories            a gateway taken apart into what its objects hold, and put together again
    disks               what survives a crash, in memory, and the copies that a crash would leave
    units               one gateway with its log and its ledger, one event at a time
    outcomes            what events did, kept from one search for the next
    properties          what must hold of every behaviour, and what must happen in some
    tables              what a search has met, numbered: states, messages, what can be on its way at once
    explorer            every behaviour within bounds, and the shortest way to each state
    replays             a behaviour as a short text, and the text played again in a World
    letters             what is on its way where a gateway has two nodes
    bounds              how much may happen in one behaviour
    pairs               a primary and its backup, which share a log, as one unit
    pair_plans          what is explored of a transfer in which a backup can take over
    explorations        one exploration and what came of it
    growth              how many states there are within growing bounds
    campaigns           many explorations on many processes, and the table rule by property
    search_options      what the command line takes and says of explorations
    channel_units       one side of a channel as a unit of an exploration: the real engine, one event at a time
    channel_replays     a behaviour of a channel as a text, played in its World
    channel_explorations  every behaviour of a channel within bounds, and what must hold of all of them
    findings            all findings, and how each stands: shown, decided, editorial, open
    proofs              a proof: the draft's sentence, the run it allows, the rule, a text to adopt
    strongest           the strongest findings, proved
    scenarios           one crash, chosen from closed lists, played and looked at
    reports             a scenario's report: the choice read from text, and the parts of a page
    panels              what the panels are made of: controls with names, a status line, places for pictures
    rule_lab            RuleLab: switch rules off, search, and step through the shortest story of what breaks
    lab                 CrashLab: choose a crash, and see what comes of it
    operations          what an implementation can be asked about bytes, keys, messages and certificates
    witness             what anybody can verify of a transfer or a log who has the keys alone
    reception           what a gateway says to one message, at its place in a transfer and at a time
    recovery_witness    what anybody can verify of a recovery who has the keys and both chains before it
    scenario_steps      crashes and recoveries as JSON steps, and what is seen after them
    channel_steps       what happens on a channel as JSON steps, and what both sides answer and store
    door                one JSON request per line in, one answer per line out: how test vectors are passed

`python -m protocol` plays a crash in a terminal.
"""
