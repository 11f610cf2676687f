"""Everyday and office words, in groups that mean much the same: a text uses one of a group, its question another."""

FIRST_NAMES = """Anna Ben Clara David Elena Farid Greta Hugo Ines Jonas Karin Leo Maria Nils Olga Paul Quentin Rosa Samir
Tessa Uwe Vera Walter Xenia Yusuf Zoe Amira Boris Carmen Dario Emil Fiona Georg Hana Ivan Julia Kofi Lena Marco Nadia
Otto Petra Ravi Sofia Tomas Ursula Victor Wanda Yara Zara Alice Bruno Celine Dmitri Edith Felix Gloria Hector Irene Jakob
Kira Lukas Mila Noah Oscar Priya Robin Stella Theo Una Viktor Willem Yasmin Arthur Bella Chloe Dora Erik Freya Gustav
Helen Isabel James Kate Liam Monica Nora Oliver Pia Rachel Simon Tina Aisha Carlos Diego Emma Frank Grace Henry Ida
John Mary Peter Susan Thomas Laura Martin Sarah Daniel Eva Michael Ruth Adam Jane Robert Lucy Kevin Amy Mark Lisa""".split()

LAST_NAMES = """Keller Novak Rossi Silva Jensen Kowalski Dubois Haddad Petrov Tanaka Okafor Schmidt Larsen Moreau Costa
Weber Fischer Lindgren Bianchi Horvat Popescu Garcia Lopez Meyer Wagner Becker Hansen Nielsen Virtanen Korhonen Nagy Szabo
Marin Ferrari Conti Ricci Laurent Bernard Dupont Girard Smith Jones Taylor Brown Wilson Evans Walker Wright Green Hall
Wood Harris Clark Lewis Young King Baker Carter Mitchell Turner Parker Collins Murphy Kelly Byrne Kim Park Chen Wang Li
Singh Patel Khan Ali Hassan Ibrahim Mensah Diallo Osei Santos Pereira Almeida Ramos Vargas Castro Ortiz Gomez""".split()

ROLES = """branch manager|head of operations|team leader|compliance officer|chief accountant|duty officer|line manager
service desk|legal department|head of sales|board|credit committee|data protection officer|personnel office|help desk
area director|safety officer|project lead|treasurer|registrar|head nurse|caretaker|site engineer|librarian|internal audit
risk department|managing director|facility team|front office|back office|security guard|customer care team""".replace("\n", "|").split("|")

ACTORS = """customers|employees|tenants|students|members|contractors|guests|drivers|patients|borrowers|suppliers|tellers
visitors|volunteers|apprentices|advisers|cardholders|applicants|parents|teachers|subscribers|travellers|account holders
business customers|new employees|branch staff|managers|researchers|owners|investors|heirs|users|engineers""".replace("\n", "|").split("|")

PLACES = """online portal|front desk|mobile app|main office|ground floor|people portal|archive|storage room|reception
customer area of the website|service counter|intranet|shared drive|post room|call centre|nearest branch|car park
meeting room|laboratory|canteen|library|warehouse|control room|training centre""".replace("\n", "|").split("|")

# The first word of a group stands in texts; questions may take any of the group.
VERBS = [line.split("|") for line in """report|tell you about|notify you of|let you know of
cancel|call off|stop|withdraw from|get out of
change|alter|modify|switch
replace|get a new version of|exchange|renew
open|set up|start
close|shut|end|give up
pay back|repay|return|settle
pay|settle|hand over the money for
book|reserve|arrange
order|buy|purchase|get
borrow|take out|get on credit
rent|lease|hire
sell|dispose of|part with
approve|agree to|sign off|allow
check|verify|inspect|look at
repair|fix|mend
store|keep|hold
destroy|shred|throw away|get rid of
send|post|mail|submit
receive|get|obtain
apply for|ask for|request|claim
use|make use of|work with
bring back|return|give back
sign|put a name under
move|transfer|shift
share|pass on|give to others
print|put on paper
copy|make a copy of|duplicate
lock|close up|secure
clean|wash|tidy
insure|cover|protect
dispute|complain about|contest|question
extend|prolong|lengthen|make longer
block|freeze|stop
transport|carry|take along
count|tally|add up
register|sign up|enrol for
visit|go to|come to
download|fetch|load
update|bring up to date|refresh
review|go through|examine again
publish|make public|put out
install|put in|set up
assign|give out|hand out
withdraw|take out|get out
deposit|pay in|put in
park|leave|put""".split("\n")]

OBJECTS = [line.split("|") for line in """a lost card|a missing card|a card that is gone
a stolen bicycle|a bike that was taken
a car|an automobile|a vehicle
a loan|credit|borrowed money
a mortgage|a home loan|a loan for a house
a flat|an apartment|a home
a house|a home|a building
a laptop|a notebook computer|a portable computer
a telephone|a phone|a handset
a key|a door key
a contract|an agreement
an invoice|a bill
a receipt|a proof of payment|a slip
a ticket|a fare
a hotel room|a place to sleep|accommodation
a flight|a plane trip|air travel
a train journey|a trip by rail
a holiday|time off|vacation|leave
a salary|pay|wages
a pension|money for old age
a savings account|an account for saving
a current account|an everyday account
a credit card|a card
a password|a login|a secret word
a parcel|a package
a letter|a piece of post
a form|a sheet to fill in
a complaint|a grievance
a refund|money back
a deposit|a security payment
a meeting room|a room for talks
a parking space|a place for the car
a desk|a table to work at
a uniform|work clothes
a badge|an identity card|a pass
a visitor|a guest
a customer file|papers of a client
a medical certificate|a note from the doctor
a passport|travel papers
an insurance policy|cover
a membership|being a member
a subscription|a regular order
a course|a class|training
an exam|a test
a book|a volume
a machine|a device
a spare part|a replacement piece
a sample|a test piece
a report|a written account
a photograph|a picture
a backup|a safety copy
a server|a computer in the data centre
a payment|a transfer|money sent
a cheque|a check
cash|banknotes|money in notes
foreign currency|money of another country
gold coins|precious coins
a safe deposit box|a locker in the vault
a power of attorney|the right to act for somebody
personal data|private information
a waste bin|the rubbish
a fire extinguisher|a thing to put out fires
a ladder|steps to climb
a tool|an instrument
medicine|drugs|pills
a meal|food|lunch
a gift|a present
a donation|money given to charity
a fine|a penalty
a tax return|papers for the tax office
an address|where one lives
a standing order|a regular payment
a signature|a name in writing
a licence|a permit
a tenancy|a lease
an appointment|a meeting|a slot
an overdraft|a negative balance
a grant|a subsidy|funding""".split("\n")]

ATTRIBUTES = [line.split("|") for line in """fee:amount|charge|price|cost
price:amount|cost|amount to pay
budget:amount|money available|funds
deposit:amount|security payment
daily limit:amount|most a day|maximum per day
rent:amount|monthly payment for it
balance:amount|money left
penalty:amount|fine
interest rate:percent|rate of interest|yearly interest
discount:percent|reduction|rebate
growth rate:percent|increase
share of the market:percent|market share
deadline:date|due date|last day
start date:date|beginning|first day
expiry date:date|end of validity|last day of validity
founding date:date|date of its foundation
delivery date:date|day of delivery
notice period:period|time to give notice
term:period|duration|length of time
warranty:period|guarantee
waiting time:period|time to wait
retention period:period|time that it is kept
manager:person|boss|person in charge|head
contact person:person|person to ask|contact
owner:person|holder|person it belongs to
author:person|writer|person who wrote it
inventor:person|person who invented it
director:person|head|chief
account number:code|number of the account
serial number:code|number on the device
reference:code|reference code|file number
access code:code|entry code|code to get in
order number:code|number of the order
invoice number:code|number of the bill
room:code|place|room number
e-mail address:mail|e-mail|mail address
telephone number:phone|phone number|phone
opening time:clock|time of opening
closing time:clock|time of closing
departure time:clock|time of leaving
head office:name|main seat|headquarters
capital:name|capital city
supplier:name|vendor
colour:word|color
model:code|type
number of employees:whole|staff count|headcount
capacity:whole|number of places
weight:whole|mass
height:whole|how tall it is
number of branches:whole|branch count""".split("\n")]

KINDS = """card|account|loan|policy|branch|office|project|product|device|contract|machine|tariff|fund|course|hotel|ship|bridge
company|team|plan|warehouse|museum|school|clinic|vehicle|service|programme|station|laboratory|factory|festival|library
server|platform|committee|region|tower|island|village|theatre|garden|mine|airline|brewery|observatory""".replace("\n", "|").split("|")

ADJECTIVES = """new old small large open final early late free monthly yearly weekly internal external private public local
foreign simple special general common rare safe fast slow quiet busy green blue red white black silver golden northern
southern eastern western central upper lower long short heavy light clean digital written personal joint single double
regular valid late missing damaged lost strict modern digital temporary permanent extra full partial""".split()

NOUNS = """account address adviser agreement alarm amount answer application archive area article asset auction audit badge
balance bank basket battery beach bicycle bill board boat body bond book bottle box branch bridge budget building bus
business cabin cable camera campaign card case cash catalogue centre certificate chair channel chapter charge cheque city
claim class client clock club coat code coin colour company computer concert contract copy corner cost country course court
credit currency customer damage data date deal debt delivery department deposit desk device dinner director discount document
door draft drawer driver education effect engine entry envelope equipment error estate event exam example exchange exit
expense export factory family farm fee field file film fire flat floor flower folder food form fund garage garden gate gift
glass goal gold group guest guide hall harbour heating holiday home hospital hotel hour house idea image income index
industry insurance interest invoice island item journey key kitchen laboratory ladder lamp land language laptop law leave
lesson letter level library licence life limit line list loan lock loss lunch machine magazine mail manager map market
material meal measure medicine meeting member memory message metal meter method minute mirror model money month mortgage
motor mountain museum music name network news note notice number offer office oil opinion order owner package page paint
paper parcel park part partner party passport password path patient pattern payment pension permit person phone photo
picture piece plan plant plate platform police policy port position post power price printer prize problem process product
profit project proof property purchase purpose question radio rate reason receipt record refund region register report
request rescue research reserve result reward risk river road roof room route rule safety salary sale sample saving scale
school screen season seat secret section security server service session share shelf shift ship shop signature site size
skill society software sound source space staff stage stamp standard station statement stock storage store storm street
student studio study subject supply support survey switch system table target task tax team term test theatre ticket time
title tool tour tower town track trade traffic train training transfer transport travel treaty trial trip truck trust unit
user vacation value vehicle version video village visa visitor voice volume wage wall warehouse warranty waste watch water
weather week wheel window winter witness word work worker world yard year zone""".split()

ACTIONS = """accept adjust announce arrange assess assign attend audit calculate carry catch charge choose collect combine
compare complete confirm connect contain control convert cover create deliver demand describe design discuss divide draw
drive earn employ encourage enter examine exclude expect explain export finish follow forward gather grant guard handle hire
hold identify import improve include increase inform inspect invest invite issue join judge keep launch lead learn limit link
maintain manage mark measure merge monitor note observe offer operate organise pack paint permit place plan prepare present
prevent process produce promise promote propose protect prove provide publish raise reach record recover reduce refuse reject
release remove renew repeat require reserve restore reveal reward scan schedule seal search select separate serve settle
share sort split state submit supply support survey test track train translate treat update value view watch weigh write""".split()

FILLERS = [line.strip() for line in """This rule has applied since the last revision.
The text below is reviewed once a year.
Older versions of this paper are kept in the archive.
Exceptions need a written note in the file.
The table in the annex gives further examples.
Nothing else has changed since the last edition.
Everybody is asked to read this section with care.
In case of doubt the team should be asked first.
The same is true for partners abroad.
Details can be found in the handbook.
A summary was sent to all teams.
It was a quiet year for the whole region.
The weather was mild and the harvest was good.
Nobody was surprised by the result.
The old procedure is no longer used.
Please keep a copy for your own records.
The list is not complete.
Most people find this easy after a short time.
Several groups took part in the discussion.
The decision was welcomed by all sides.""".split("\n")]
