"""The cues of damage, by level and kind, in the languages tickets come in. Data only; impact.py reads them.

They meet folded text: small letters without accents, straight apostrophes. A cue is (name in the reasons, pattern, may
"no" or "not" before it deny it). Every pattern meets text of strangers: none may take more than a fixed number of
steps for a character of it.
"""

# ruff: noqa: E501 - one cue a line reads better than a wrapped pattern
from __future__ import annotations

__all__ = ["DENIED", "FOUND_AGAIN", "HIGH", "LOW", "OVER", "URGENT"]

THING = r"(?:card|phone|mobile|wallet|purse|handbag|bag|passport)s?"
MONEY = r"(?:payments?|charges?|transactions?|withdraw\w*|transfers?|purchases?|debits?|cash|money|amount|orders?)"
SYSTEM = r"(?:production|prod|site|website|web shop|shop|service|system|checkout|platform|everything|database|db|servers?|api|cluster|network|e-?mail)"
GAP = r"(?:\W{1,20}\w{1,60}){0,5}?\W{1,20}"  # a few words; what is a word and what is between is never both
CARD_DE = (
    r"(?:karte|kreditkarte|bankkarte|handy|portemonnaie|geldbeutel|geldborse|brieftasche|handtasche|tasche|telefon)"
)
CARD_FR = r"(?:carte|telephone|portable|portefeuille|sac|porte-monnaie)"
CARD_ES = r"(?:tarjetas?|movil|celular|cartera|billetera|bolso|telefono)"
CARD_PT = r"(?:cartao|cartoes|celular|carteira|bolsa|telemovel|telefone)"
CARD_IT = r"(?:carta|carte|bancomat|telefono|cellulare|portafoglio|borsa)"
CARD_NL = r"(?:pas|bankpas|kaart|creditcard|portemonnee|telefoon|tas)"

Cue = tuple[str, str, bool]

URGENT: list[Cue] = [
    ("outage", rf"\boutages?\b|\b{SYSTEM} (?:is|are|went|has been|have been|seems|keeps going) (?:completely |totally |all |currently |now )?(?:down|offline|unreachable|unavailable)\b"
     rf"|\b{SYSTEM} down\b|\bdown for (?:everyone|everybody|all)\b|\b(?:everything|all|every (?:request|call|page)|all requests(?: to \w+ \w+)?) (?:returns?|fails?|throws?|gives?|is|are) (?:with )?(?:an? )?(?:http )?(?:50[0234]|errors?|failing|broken)\b|\b50[234] for (?:everyone|everybody|all|every)\b", True),
    ("outage", r"\b(?:komplett |vollig |ganz )?ausgefallen\b|\b(?:produktion|system|shop|server|webseite|website) (?:steht|ist (?:down|offline|tot|nicht erreichbar))\b|\btotalausfall\b|\bnicht erreichbar\b"
     r"|\ben panne\b|\b(?:site|serveur|service|systeme|production) (?:est|sont) (?:tombe\w*|down|inaccessibles?|indisponibles?|hors service)\b|\bplus rien ne (?:marche|fonctionne)\b"
     r"|\b(?:servidor|sistema|servicio|web|pagina|sitio|produccion|site|servico|producao|plataforma|tienda|loja)(?: \w+){0,2} (?:caid[oa]s?|no responde|fora do ar|indisponivel|caiu)\b|\b(?:se ha caido|se cayo|esta caid[oa]|caiu tudo)\b|\bfora do ar\b"
     r"|\b(?:server|sito|sistema|servizio|produzione) (?:e |sono )?(?:giu|irraggiungibil\w|offline|bloccat[oa]|fermo|ferma|non raggiungibile)\b"
     r"|\b(?:ligt|liggen|lag) (?:er )?(?:plat|eruit|uit)\b|\bgrote storing\b|\b(?:site|systeem|server) (?:is )?(?:down|onbereikbaar)\b"
     r"|(?:сервер|сайт|продакшен|прод|система|сервис|база)\w* (?:\w+ )?(?:упал\w*|лежит|недоступ\w*|не отвечает)|宕机|瘫痪|服务器(?:挂|崩)了?|(?:数据库|系统|网站|服务)(?:全部)?(?:挂了|崩了|崩溃|不可用|无法访问)"
     r"|(?:サーバー?|システム|サイト|本番\w{0,6})が?(?:ダウン|停止|落ち)|本番障害|全ユーザー|システム障害|서버(?:가)? 다운", True),
    ("nobody can work", r"\b(?:nobody|no one|noone|none of (?:us|our|the) \w+|no customers?|not a single (?:user|customer)) (?:can|is able to|could)\b"
     r"|\b(?:all|every) (?:customers?|users?|orders?|payments?|requests?|clients?) (?:are |is )?(?:fail\w*|cannot|can't|unable|affected|blocked)"
     r"|\b(?:kein kunde|keine kunden|niemand) kann\b|\balle (?:kunden|nutzer|benutzer|zahlungen)\b|\bplus personne ne (?:peut|pouvons)\b|\b(?:aucun client|personne) ne peut\b|\btous les (?:clients|utilisateurs)\b"
     r"|\b(?:ningun cliente|nadie) puede\b|\btodos los (?:clientes|usuarios)\b|\b(?:nenhum (?:cliente|usuario)|ninguem) (?:consegue|pode)\b|\btodos os (?:clientes|usuarios)\b"
     r"|\b(?:nessun (?:cliente|utente)|nessuno) (?:puo|riesce)\b|\btutti (?:i clienti|gli utenti)\b|\b(?:niemand|geen enkele klant) kan\b|никто не может|все (?:клиенты|пользователи)|(?:所有|全部)(?:用户|客户)|(?:誰も|全員)", False),
    ("data loss", r"\bdata[ -]?loss\b|\b(?:lost|deleted|wiped|corrupts?|corrupted|corrupting|loses?|losing|erased|overwr\w+) (?:(?!or |interest)\w+ ){0,3}(?:data|database|records|backups?|tables?|sstables?|files|volumes?)\b"
     r"|\b(?:data|database|records|tables?|files|index\w*|backups?) (?:is|are|was|were|has been|have been|gets?|being) (?:\w+ )?(?:lost|deleted|corrupt\w*|wiped|gone|erased|destroyed)\b|\b(?:data|file|table|index|block|silent) corruption\b|\bdata (?:correctness|inconsistency)\b|\bsilently (?:lost|drop\w*|truncat\w*)\b"
     r"|\bdatenverlust\b|\bdaten (?:\w+ ){0,3}(?:verloren|weg|geloscht|beschadigt)\b|\bpertes? de donnees\b|\bdonnees (?:\w+ ){0,2}(?:perdues|effacees|corrompues)\b|\b(?:perdid[ao]s? de datos|perdido (?:\w+ )?datos|datos (?:\w+ )?(?:perdidos|borrados|corruptos))\b"
     r"|\bperda de dados\b|\b(?:perdemos|perdeu|apagou) (?:\w+ ){0,2}dados\b|\bdados (?:\w+ )?(?:perdidos|apagados|corrompidos)\b|\bperdita di dati\b|\b(?:perso|persi|perduto) (?:\w+ ){0,2}dati\b|\b(?:database|dati) (?:e |sono )?(?:corrott\w|persi)\b|\bdataverlies\b|\b(?:gegevens|data) (?:zijn |is )?(?:kwijt|verloren|weg)\b"
     r"|(?:потер|пропал|удал)\w* (?:\w+ ){0,2}данн\w*|数据(?:全部|都)?(?:丢失|没了|损坏|被删)|丢失了?\w{0,4}数据|データ(?:が|の)?(?:消え|消失|破損|失わ)", True),
    ("security", r"\b(?:security|data) (?:breach|incident|leak)\b|\b(?:been |was |got |is |were )?(?:hacked|compromised|hijacked|ransomware)\b|\b(?:leaked|exposed) (?:\w+ ){0,2}(?:data|passwords?|keys?|credentials|tokens?|details|secrets?)\b|\b(?:data|passwords?|keys?|credentials|tokens?|details|secrets?) (?:has |have |was |were |are |is |been |being ){0,3}(?:leaked|exposed|stolen|leaking)\b|\b(?:other|another|different|someone else's|somebody else's) (?:users?|customers?|tenants?|clients?|persons?|people)(?:'s|s'|')? (?:\w+ )?(?:data|orders?|invoices?|account|details|information|records)\b"
     r"|\bunauthori[sz]ed (?:access|log ?in|transactions?|payments?|charges?|use|purchases?|withdrawals?)\b|\bphish(?:ing|ed)\b|\bidentity theft\b|\bcve-\d{4}-\d+\b|\b(?:sql|command|code|ldap|html|script) injection\b|\binject (?:\w+ ){0,3}(?:sql|code|commands?|group|script)\b|\bremote code execution\b|\brce\b|\bxss\b|\bprivilege escalation\b|\bauth\w* bypass\b"
     r"|\b(?:someone|somebody|some one)(?: else)? (?:\w+ ){0,2}(?:using|used|accessed|access to|got into|stole|logged|logging|bought|charged|withdr\w+|tak(?:en|ing)|took|hacked|changed|opened)\b"
     r"|\b(?:gehackt|hackerangriff|datenleck|sicherheitsvorfall|sicherheitslucke)\b|\b(?:jemand|fremde|unbekannte|ein fremder) (?:hat|haben) (?:\w+ ){0,5}(?:eingeloggt|uberwiesen|abgehoben|benutzt|verwendet)\b|\b(?:quelqu'un|alguien|alguem|qualcuno|iemand) (?:a|ha|heeft|entro|usou|fez|se ha) (?:\w+ ){0,4}(?:utilise|usado|entrado|acced\w+|usato|effettuato|gebruikt|ingelogd|retire|sacado|transferi\w*|prelevato)\b|\b(?:pirate|piratee|pirates|hackee?|hameconnage|usurpation|faille de securite|fuite de donnees)\b|\b(?:hackead[oa]s?|hackearon|jaquead\w*|brecha de seguridad|fuga de datos|suplantacion)\b|\b(?:hackead[oa]|invadid[oa]|invadiram|vazamento de dados|vazaram)\b"
     r"|\b(?:hackerat[oa]|violat[oa]|violazione dei dati|furto d'identita)\b|\b(?:gehackt|datalek|beveiligingslek)\b|взлом\w*|утечк\w* данных|уязвимост\w*|被黑|黑客|信息泄露|数据泄露|漏洞|不正アクセス|乗っ取ら|情報漏|脆弱性", True),
    ("legal deadline", r"\blegal (?:deadline|action|proceedings|notice)\b|\blawsuit\b|\b(?:my|our|a) (?:lawyer|attorney|solicitor)s?\b(?! (?:has|have) (?:looked|checked|reviewed|approved))|\bsubpoena\b|\bcease and desist\b|\bsettle or (?:fight|go)\b"
     r"|\bcourt (?:date|order|case|hearing|deadline|wants)\b|\bregulator\b|\bsue you\b|\bgdpr (?:request|deadline|breach)\b|\bsmall claims\b"
     r"|\b(?:rechtsanwalt|meinen? anwalt|anwalt einschalten|klage einreichen|gerichtstermin|einstweilige|gesetzliche frist|abmahnung)\b|\b(?:mon avocat|mise en demeure|tribunal|poursuites? judiciaires?|porter plainte|assignation)\b"
     r"|\b(?:mi abogad[oa]|accion(?:es)? legal(?:es)?|demanda judicial|juzgado|tribunal|plazo legal)\b|\b(?:meu advogado|minha advogada|acao judicial|processo judicial|prazo legal|juizado)\b|\b(?:mio avvocato|azion[ei] legal[ei]|tribunale|diffida|scadenza legale|denuncia)\b"
     r"|\b(?:mijn advocaat|rechtszaak|ingebrekestelling|dagvaarding|kort geding)\b|в суд\b|мой адвокат|судебн\w+|досудебн\w+|律师函|起诉|法院|诉讼|弁護士|訴訟|裁判所|法的措置", True),
    ("lost or stolen", rf"\b(?:lost|stolen|stole|steal|missing|misplaced|robbed|snatched|pickpocketed){GAP}{THING}\b|\b(?:left|forgot) my (?:phone|card|wallet|purse|bag) (?:at|in|on)\b"
     rf"|\b{THING}{GAP}(?:was |were |is |been |got |has |have |went )*(?:lost|stolen|missing|disappeared|misplaced|gone(?! through)|snatched)\b|\b(?:my things|everything(?: i have)?|all my things) (?:was|were|has been|got) stolen\b|\b(?:no longer have|don't have|do not have|not in possession of) my (?:phone|card|wallet|mobile)\b"
     rf"|\b(?:can't|cannot|can not|couldn't|could not) find (?:my|the) {THING}\b(?! pin)|\bi (?:think i |just )?(?:was|got|have been) (?:mugged|robbed|pickpocketed)\b|\b(?:somebody|someone|they|he|thieves|a thief) (?:took|stole|grabbed|snatched) (?:my|our) {THING}\b|\b(?:stop|block|freeze) (?:my|all my|both) cards?\b|^mugged\b"
     rf"|\b(?:machine|atm|cashpoint)\b.{{0,25}}\b(?:swallow\w*|ate|eats?|kept|keeps|took|retained|stole|eaten|sucked|has|give|gave|return)\b.{{0,14}}\bcard\b|\bcard\b.{{0,25}}\b(?:swallowed|eaten|stuck|kept by|retained|not come out|won't come out)\b"
     r"|\b(?:block|freeze|cancel) (?:my|the|all my|both) cards? (?:now|immediately|right away|asap|please)\b|\bneed (?:my|to) (?:card frozen|freeze my card)\b", False),
    ("lost or stolen", rf"\b{CARD_DE}\b.{{0,40}}\b(?:gestohlen|geklaut|verloren|weg|entwendet|eingezogen)\b|\b(?:gestohlen|geklaut|verloren|entwendet)\b.{{0,40}}\b{CARD_DE}\b|\bkarten? (?:sofort )?sperren\b|\bsperren sie (?:\w+ ){{0,3}}karte"
     rf"|\b(?:vole|volee|voler|perdu|perdue|derobe|derobee)\b.{{0,40}}\b{CARD_FR}\b|\b{CARD_FR}\b.{{0,40}}\b(?:vole|volee|perdu|perdue|avalee)\b|\bfaire opposition\b|\bvol de (?:ma|mon)\b"
     rf"|\b(?:robaron|robado|robada|robo|perdi|perdido|extravie|hurtaron)\b.{{0,40}}\b{CARD_ES}\b|\b{CARD_ES}\b.{{0,40}}\b(?:robad[oa]s?|perdid[oa]s?|extraviad[oa]s?|tragado)\b|\bcajero\b.{{0,30}}\btarjeta\b"
     rf"|\b(?:roubaram|roubado|roubada|roubo|perdi|perdido|furtaram|furto)\b.{{0,40}}\b{CARD_PT}\b|\b{CARD_PT}\b.{{0,40}}\b(?:roubad[oa]s?|perdid[oa]s?|furtad[oa]s?|clonad[oa]s?|engolido)\b"
     rf"|\b(?:rubat[oa]|rubato|perso|persa|smarrit[oa]|furto)\b.{{0,40}}\b{CARD_IT}\b|\b{CARD_IT}\b.{{0,40}}\b(?:rubat[oa]|persa|perso|smarrit[oa]|clonat[oa])\b"
     rf"|\b(?:gestolen|verloren|kwijt)\b.{{0,40}}\b{CARD_NL}\b|\b{CARD_NL}\b.{{0,40}}\b(?:gestolen|verloren|kwijt)\b"
     r"|(?:украли|украден\w*|потерял\w*|утерян\w*).{0,30}(?:карт\w*|телефон\w*|кошел\w*|сумк\w*)|(?:карт\w*|телефон|кошел\w*|сумк\w*).{0,30}(?:украли|украден\w*|потерял\w*|утерян\w*)"
     r"|(?:卡|手机|钱包)\w{0,6}(?:被偷|丢了|丢失|遗失|被盗)|(?:丢了|丢失|遗失|被偷)\w{0,4}(?:卡|手机|钱包)|挂失|(?:カード|財布|携帯|スマホ)を?(?:盗まれ|なくし|紛失|落とし)|(?:カード|財布)\w{0,4}(?:盗難|紛失)", False),
    ("unrecognised charge", rf"\b(?:don't|do not|dont|didn't|did not|didnt|never|not|haven't|cannot|can't|isn't|wasn't|unfamiliar)(?: \w+){{0,3}} (?:reco(?:gn|ng)i[sz]ed?|recall|remember|familiar with)\b.{{0,40}}\b{MONEY}\b"
     rf"|\b(?:didn't|did not|didnt|never|haven't|have not)(?: even| actually| ever| personally)? (?:mak(?:e|ing)|made|authori[sz]ed?|approved?|set up|request(?:ed)?|withdr[ae]w|do|done)\b (?:a |an |any |the |this |that |these |those |such |of ){{0,3}}(?:\w+ )?{MONEY}\b"
     rf"|\b(?:unknown|unfamiliar|suspicious) (?:\w+ ){{0,2}}{MONEY}\b"
     rf"|\b{MONEY}\b.{{0,60}}\b(?:(?:don't|do not|dont|didn't|did not|didnt|never|haven't|not)(?: \w+){{0,2}} (?:reco(?:gn|ng)i[sz]ed?|recall|remember|familiar)|(?:didn't|did not|didnt|never|haven't) (?:ma[dk]e|authori[sz]ed?|do|done|did|request(?:ed)?|set up|buy|bought|seen|place|ordered|approve)(?! in| on| any| anything)|(?:isn't|wasn't|not|aren't|weren't) (?:mine|me|made by me|by me|from me))\b"
     r"|\bunrecogni[sz]ed\b|\bfraud(?:ulent\w*|sters?)?\b(?! (?:protection|department|prevention|detection))|\bscam(?:med|mer|mers)?\b|\bdisput(?:e|ing) (?:a |the |this |my )?(?:\w+ )?(?:debit|charge|payment|transaction|withdrawal)\b|\b(?:have|has|was|am) never been there\b|\bwithout my (?:consent|permission|knowledge|approval|authori[sz]ation)\b"
     r"|\bentered my (?:code|pin|password|details)\b.{0,60}\b(?:gone|stolen|missing|empty)\b|\bidentity (?:was |has been )?stolen\b", False),
    ("unrecognised charge", r"\b(?:betrug|betrogen|betruger)\b|\b(?:abbuchung|zahlung|buchung|uberweisung)en?\b.{0,60}\b(?:nicht (?:erkenne|kenne|gemacht|autorisiert|veranlasst|getatigt)|unbekannt\w*)\b|\b(?:kenne|erkenne) (?:ich )?(?:diese|die|eine) (?:abbuchung|zahlung|buchung) nicht\b|\bnicht autorisierte\w*\b"
     r"|\b(?:fraude|arnaque|escroquerie|escroque)\b|\b(?:prelevement|paiement|achat|debit|operation|transaction)s?\b.{0,60}\b(?:ne reconnais pas|pas fait|pas autorise\w*|inconnus?|pas moi)\b|\bne reconnais pas\b.{0,40}\b(?:prelevement|paiement|achat|debit|operation)"
     r"|\b(?:estafa|estafaron|estafado)\b|\b(?:cargo|compra|pago|cobro|transferencia)s?\b.{0,60}\b(?:no (?:reconozco|he hecho|hice|autorice|son mi[oa]s|es mi[oa])|que no)\b|\bno reconozco\b|\bno autorizad[oa]s?\b"
     r"|\b(?:golpe|golpista|fraudulent[oa]s?)\b|\b(?:compra|cobranca|debito|pagamento|transferencia)s?\b.{0,60}\bnao (?:reconheco|fiz|fui eu|autorizei)\b|\bnao reconheco\b|\b(?:clonad[oa]|clonaram)\b|\bsem (?:a )?minha (?:autorizacao|permissao)\b|\bsin mi (?:autorizacion|permiso|consentimiento)\b|\bsenza (?:la mia )?autorizzazione\b.{0,30}\b(?:prelev|addebit|pagament)\w*\b|\bsans mon (?:accord|autorisation)\b|\bohne meine (?:zustimmung|erlaubnis|einwilligung)\b|\bzonder mijn toestemming\b"
     r"|\b(?:frode|truffa|truffat[oa])\b|\bnon riconosco\b|\bnon (?:ho )?(?:autorizzato|fatto)\b.{0,40}\b(?:pagament\w|addebit\w|acquist\w)\b|\b(?:addebito|pagamento|acquisto|prelievo)\b.{0,50}\bnon (?:riconosco|ho fatto|autorizzat\w)"
     r"|\b(?:oplichting|opgelicht|fraude)\b|\b(?:afschrijving|betaling|geld)\b.{0,60}\bniet (?:herken|gedaan|gemaakt)\b|мошен\w*|обман\w* на деньги|(?:списа\w*|снял\w*|перевод\w*|покупк\w*).{0,50}(?:не делал\w*|не совершал\w*|не я\b|без моего)|не делал\w* (?:эт\w+ )?(?:покупк\w*|перевод\w*|платеж\w*)"
     r"|盗刷|诈骗|被骗|欺诈|不是我(?:本人)?(?:操作|消费|买|转)|不正利用|身に覚えのない|詐欺|心当たりのない", False),
]  # fmt: skip
HIGH: list[Cue] = [
    ("blocked", r"\bblock(?:ed|er|ing us|s us)\b|\b(?:cannot|can't|can not|unable to) (?:work|log ?in|login|access|use|pay|order|check ?out|deploy|continue)\b"
     r"|\blocked out\b|\bstuck\b|\bgesperrt\b|\bkann (?:\w+ ){0,3}nicht (?:arbeiten|einloggen|anmelden|bezahlen)\b|\b(?:bloque|bloquee|bloquead[oa]|bloccat[oa]|geblokkeerd)\b|заблокир\w*|冻结|凍結", True),
    ("complaint", r"\bcomplain(?:t|ts|ing)?\b|\bunacceptable\b|\b(?:furious|angry|outrageous|disgust\w+|ridiculous|a joke|appalling|pathetic)\b|\b(?:terrible|awful|worst|horrible) (?:service|experience|company|support)\b|\bmanager\b.{0,20}\b(?:speak|talk)\b|\b(?:speak|talk)\b.{0,20}\bmanager\b|\bwant a manager\b"
     r"|\b(?:beschwer\w+|unverschamt\w*|frechheit|unzumutbar)\b|\b(?:inadmissible|inacceptable|scandaleux|honteux|reclamation)\b|\b(?:inaceptable|verguenza|queja|reclamo|pesimo)\b|\b(?:inaceitavel|absurdo|pessimo|reclamar|procon|descaso)\b|\b(?:inaccettabile|vergogn\w+|reclamo|pessimo)\b|\b(?:klacht|belachelijk|schandalig|waardeloze?)\b|безобраз\w*|жалоб\w*|投诉|太差|苦情|最悪", True),
    ("double charge", r"\b(?:charged|billed|paid|debited|deducted|taken) (?:\w+ ){0,4}(?:twice|two times|double|again|more than once|too many times)\b|\b(?:double|duplicated?|doubly|multiple)[ -]?(?:charge|charged|charges|payment|billing|billed)s?\b|\btwice\b.{0,30}\b(?:charged?|billed|payment|account)\b|\b(?:payment|charge|transaction)s?\b.{0,40}\btwice\b|\bovercharged\b|\btwo of the same (?:charge|payment)s?\b"
     r"|\b(?:doppelt|zweimal)\b.{0,40}\b(?:abgebucht|belastet|berechnet|bezahlt)\b|\b(?:deux fois|double) ?(?:preleve\w*|debite\w*|facture\w*|prelevement)\b|\b(?:preleve|debite|facture)\w* (?:deux fois|en double)\b|\b(?:cobraron|cobrado|cobro|cobrad[oa]|cobraram)\b.{0,20}\b(?:dos veces|doble|duplicad[oa]|duas vezes|em dobro)\b|\b(?:addebitat\w|pagato)\b.{0,20}\bdue volte\b|\btwee keer (?:afgeschreven|betaald)\b|дважды списа\w*|списа\w* дважды|重复扣|二重(?:請求|引き落とし)", True),
    ("refund", r"\brefund(?:ed|s|ing)?\b(?! polic)|\bmoney back\b|\bchargeback\b|\b(?:ruckerstatt\w+|geld zuruck)\b|\brembours\w+\b|\breembols\w+\b|\bdevolucion del? dinero\b|\bestorno\b|\brimborso\b|\bgeld terug\b|возврат\w* денег|верн\w+ деньги|退款|返金", True),
    ("wants it now", r"\burgent(?:ly)?\b|\basap\b|\bimmediately\b|\bright away\b|\bemergency\b|\bdringend\b|\bsofort\b|\b(?:urgence|immediatement)\b|\burgente(?:mente)?\b|\bspoed\b|срочно|紧急|至急|緊急", True),
    ("fails badly", r"\bcrash(?:es|ed|ing)?\b|\bdeadlocks?\b|\bregression\b|\bcritical\b|\bmemory leak\b|\bout of memory\b|\boom\b|\bhangs?\b|\bsegfault\b|\bdata race\b|\bsturzt ab\b|\babsturz\b|\bplante\b|\bse cierra sol[oa]\b|闪退|崩溃|クラッシュ|вылетает", True),
    ("threatens to leave", r"\btrustpilot\b|\bbad review\b|\bombudsman\b|\bconsumer (?:protection|rights)\b|\bnever (?:order|buy|shop)\w* (?:\w+ ){0,3}again\b", True),
]  # fmt: skip
LOW: list[Cue] = [
    ("cosmetic", r"\bcosmetic\b|\btypos?\b|\bspelling\b|\bmisspell\w*\b|\bjavadocs?\b|\bindentation\b|\bwording\b|\bwhitespace\b|\btippfehler\b|\brechtschreib\w*\b|\bfaute de frappe\b|\berror tipografico\b|\berro de digitacao\b|\brefuso\b|\btypfout\b|опечатк\w*|错别字|誤字", False),
    ("nice to have", r"\bnice[ -]to[ -]have\b|\bwould be (?:nice|great|cool|lovely)\b|\bfeature (?:request|wish)\b|\bsuggestion\b|\bwish ?list\b|\bsomeday\b|\bverbesserungsvorschlag\b|\bsugerencia\b|\bsugestao\b|功能建议", False),
    ("no hurry", r"\bno (?:rush|hurry)\b|\bnot (?:\w+ )?urgent\b|\blow priority\b|\bwhenever you (?:have|get|find)\b|\bwhen you have (?:time|a moment)\b|\bnicht (?:\w+ )?(?:dringend|eilig)\b|\beilt nicht\b|\bpas urgent\b|\bno es urgente\b|\bnao e urgente\b|\bnon urgente\b|\bgeen haast\b|не срочно|不急|急ぎではない", False),
]  # fmt: skip
DENIED = (
    r"(?:\b(?:no|not|never|without|isn't|wasn't|aren't|doesn't|don't|didn't|haven't|hasn't|prevents?|avoids?|against|in case of|simulated?|protect\w* from"
    r"|kein|keine|keinen|ohne|pas de|aucune?|sans|sin|sem|nenhuma?|ningun\w?|nessun\w?|senza|geen|zonder|без|нет)"
    r"(?: \w+){0,2}|\b(?:no|without) (?:\w+ ){1,3}or|没有|未) ?$"
)
OVER = r"\W*(?:\w+ ){0,2}(?:is |was |has been )?(?:over|resolved|restored|fixed|averted|drill|policy|postmortem)\b"
FOUND_AGAIN = r"\b(?:found|discovered) (?:it|my|the|again|a card)\b|\bfound my\b|\breactiv\w*|\bthought (?:i|it|was) (?:\w+ ){0,2}(?:lost|misplaced)\b|\bwiedergefunden\b|\bretrouve\b|\bencontre\b|\bencontrei\b|\britrovat[oa]\b"
