package synth

// Names are common given names and made-up family names; places, products and organisations are invented. Domains end in
// .example (RFC 2606), addresses are from RFC 1918, RFC 5737 and RFC 2544, cloud account numbers are the usual examples.
const (
	domainName  = "umbrin.example"
	netbiosName = "UMBRIN"
	domainSID   = "S-1-5-21-1004336348-1177238915-682003330"
	tenantGUID  = "5c1d7a9e-3b42-4f0c-9e67-2a8d1f4b6c03"
	accountID   = "111122223333"
	egressIP    = "192.0.2.10" // all offices leave through this address
	vpnIP       = "192.0.2.20"
)

var givenNames = []string{
	"Anna", "Ben", "Carla", "David", "Elena", "Farid", "Greta", "Hiro", "Ines", "Jonas", "Keiko", "Liam", "Mara", "Nils",
	"Olga", "Pavel", "Quentin", "Rosa", "Sven", "Tara", "Ugo", "Vera", "Walid", "Xenia", "Yuki", "Zoë", "Aiko", "Bruno",
	"Chloé", "Dario", "Emi", "Felix", "Gina", "Hugo", "Ida", "Jan", "Karin", "Leo", "Mina", "Noor",
}

var familyNames = []string{
	"Adlerhof", "Brakemoor", "Castrell", "Dunwick", "Esperholt", "Fennimar", "Grovetti", "Hallenby", "Isakura", "Jorvand",
	"Kestervan", "Lindqvale", "Morivane", "Nakahoshi", "Ostermark", "Pellarin", "Quistgard", "Rovanek", "Sandoval-Ruhl",
	"Tamuraki", "Ulvestad", "Varenholt", "Wexmoor", "Yamabuchi", "Zelinsky", "Ångmark", "Belmaro", "Corvassi", "Drexlund",
	"Eibenfels", "Falkrona", "Gorinski", "Hoshikage", "Iverness", "Jaskovar", "Kurogane", "Laventry", "Müllbach", "Norwend",
}

// A department's habits are weights over the actions of office.go: browse, share, process, saas, intranet, ssh, cloud, print.
type department struct {
	name   string
	size   int // relative
	habits [8]int
}

var departments = []department{
	{"Sales", 24, [8]int{34, 12, 8, 34, 24, 0, 0, 4}},
	{"Finance", 12, [8]int{20, 24, 10, 24, 24, 0, 0, 6}},
	{"HR", 6, [8]int{22, 20, 8, 28, 26, 0, 0, 6}},
	{"Engineering", 26, [8]int{20, 4, 12, 14, 10, 32, 32, 1}},
	{"Support", 14, [8]int{26, 8, 8, 30, 38, 2, 0, 2}},
	{"Operations", 8, [8]int{10, 4, 12, 10, 10, 46, 40, 0}},
	{"IT", 6, [8]int{14, 10, 22, 18, 10, 34, 20, 1}},
	{"Management", 4, [8]int{28, 12, 6, 36, 24, 0, 0, 4}},
}

var (
	webNames = []string{
		"www.brightharbor.example", "news.dailyorbit.example", "mail.umbrin-cloud.example", "cdn.fastleaf.example",
		"docs.paperkite.example", "maps.wayfold.example", "video.streamloft.example", "api.weatherhive.example",
		"update.osmend.example", "chat.talkbarn.example", "shop.tinmarket.example", "ads.clickmoss.example",
		"forum.knitwise.example", "bank.northquay.example", "travel.sunrail.example", "img.photocrate.example",
		"git.codecroft.example", "packages.modshelf.example", "telemetry.appbeam.example", "jobs.hirewell.example",
	}
	cities = []town{
		{"Eastmere", "Norlund", "DE", "52.31", "10.24"}, {"Port Alder", "Westmark", "GB", "51.88", "-2.11"},
		{"Kitasato", "Aomine", "JP", "36.12", "138.40"}, {"Sainte-Orne", "Valmer", "FR", "47.02", "2.91"},
		{"Lake Tarn", "Ridgeland", "US", "41.77", "-89.35"}, {"Brennfeld", "Oberau", "AT", "47.61", "14.02"},
	}
	farCities = []town{
		{"Novy Brod", "Zarech", "RU", "54.90", "37.21"}, {"Shanwei Bay", "Haidong", "CN", "23.10", "115.30"},
		{"Puerto Sombra", "Cordal", "BR", "-12.30", "-38.92"}, {"Ikorun", "Osai", "NG", "6.71", "3.52"},
	}
	browsers = []string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/132.0.0.0 Safari/537.36",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:134.0) Gecko/20100101 Firefox/134.0",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.2 Safari/605.1.15",
		"Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.2 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (Linux; Android 14; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/132.0.0.0 Mobile Safari/537.36",
	}
	spareLogins = []string{
		"root", "admin", "test", "oracle", "ubuntu", "postgres", "user", "guest", "ftpuser", "git", "pi", "deploy",
		"support", "nagios", "mysql", "jenkins", "administrator", "dev", "minecraft", "www",
	}
	shareFolders = [][]string{ // by department
		{"Quotes", "Customers", "Pricing 2025", "Campaigns"},
		{"Ledger", "Invoices", "Payroll", "Audit 2024", "Budget"},
		{"Contracts", "Applicants", "Reviews", "Training"},
		{"Designs", "Specs", "Builds", "Lab"},
		{"Tickets", "Manuals", "Escalations"},
		{"Runbooks", "Capacity", "Changes"},
		{"Images", "Scripts", "Inventory", "Licences"},
		{"Board", "Strategy", "Minutes"},
	}
	fileStems = []string{
		"report", "summary", "plan", "offer", "invoice", "minutes", "list", "budget", "contract", "review", "notes",
		"forecast", "checklist", "overview", "template", "draft", "protocol", "statement", "schedule", "analysis",
	}
	fileTypes = []string{"xlsx", "docx", "pdf", "pptx", "txt", "csv", "png", "zip"}
)

// town is a town as sign-in logs show it.
type town struct{ city, state, country, lat, lon string }
